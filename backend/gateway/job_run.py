"""One batch job at work in this worker: its lines go through the pipeline as calls of the job's owner, some at once.

A line is written as begun before it goes out, and its outcome in the transaction that begins the next ones. What a
lost worker had begun is done again by whoever takes the job up; the row of the lost call stays in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, cast

import orjson

from backend.batch.desk import Desk, Ended, JobRow, LeaseLost, LineEnd, LineRow
from backend.batch.lines import ENDPOINTS, Rules
from backend.call import Arrival, Endpoint, Entry
from backend.errors import GatewayError, ModelNotFound, as_gateway_error
from backend.gateway.pipeline import answer
from backend.routing.router import find_candidates
from db.engine import DatabaseError

if TYPE_CHECKING:
    from backend.gateway.gateway import Gateway
    from backend.settings.knobs import BatchSettings, Deployment

log = logging.getLogger("governor.batch")

BUSY = frozenset({429, 503})
"""What a line is answered when it may come again."""

_LOOK_S = 0.25
_EXCHANGE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_Outcome = tuple[LineEnd | None, int]
"""How a line ended, None when it was given back, and what its calls cost."""


class JobRun:
    """A claimed job, from wherever it stands to its end, or until the worker stops."""

    def __init__(self, gateway: Gateway, desk: Desk, job: JobRow, live_calls: Callable[[], int]) -> None:
        self.job = job
        self.under_way: set[asyncio.Task[_Outcome]] = set()
        self._gateway = gateway
        self._desk = desk
        self._live_calls = live_calls
        self._stopping = asyncio.Event()
        self._exchanged = 0.0
        labels: dict[str, str] = orjson.loads(job.labels or "{}") | {"x-governor-tag-batch": job.id}
        self._headers = {name.encode("latin-1"): text.encode("latin-1") for name, text in labels.items()}

    def stop(self) -> None:
        """Begin no more lines; those under way are finished and the job is let go."""
        self._stopping.set()

    def cut(self) -> None:
        """Wait for no line any longer."""
        self.stop()
        for task in self.under_way:
            task.cancel()

    async def run(self) -> None:
        """Do the job; what stands in the way is logged, and whoever takes the job up next goes on."""
        beat = asyncio.create_task(self._beat())
        try:
            await self._advance()
        except LeaseLost:
            log.warning("batch job %s was taken up by another worker", self.job.id)
        except DatabaseError as error:
            log.warning("batch job %s waits for the database: %s", self.job.id, type(error).__name__)
        except Exception:
            log.exception("batch job %s failed here", self.job.id)
        finally:
            beat.cancel()
            for task in self.under_way:
                task.cancel()
            if self.under_way:
                await asyncio.wait(self.under_way)

    async def _advance(self) -> None:
        if self.job.status == "validating":
            self.job = await asyncio.to_thread(self._desk.prepare, self.job, self._rules())
        if self.job.status in ("in_progress", "cancelling") and not await self._work():
            await asyncio.to_thread(self._desk.release, self.job)
            return
        if self.job.status != "failed":
            self.job = await asyncio.to_thread(self._desk.finalize, self.job)
            self.job = await asyncio.to_thread(self._desk.finish, self.job, self._knobs.keep_days)
        log.info("batch job %s is %s", self.job.id, self.job.status)

    async def _work(self) -> bool:
        """Do lines until none is left to begin; False when the worker stops before that."""
        while True:
            wanted = self._room() if self._may_begin() else 0
            lines = await self._exchange(wanted)
            self.under_way |= {asyncio.create_task(self._place(line)) for line in lines}
            if not self.under_way:
                if self._stopping.is_set():
                    return False
                if wanted or not self._may_begin():
                    return True
            await self._pause()

    async def _pause(self) -> None:
        """Until a line ends, or a moment later."""
        if self.under_way:
            await asyncio.wait(self.under_way, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await self._stops_within(_LOOK_S)

    async def _exchange(self, wanted: int) -> Sequence[LineRow]:
        done = {task for task in self.under_way if task.done()}
        stale = time.monotonic() - self._exchanged > _EXCHANGE_S
        if not done and not wanted and not stale:
            return ()
        outcomes = [task.result() for task in done if not task.cancelled()]
        ended = Ended([end for end, _ in outcomes if end is not None], sum(cost for _, cost in outcomes))
        self.job, lines = await asyncio.to_thread(self._desk.exchange, self.job, ended, wanted)
        self.under_way -= done
        self._exchanged = time.monotonic()
        return lines

    def _may_begin(self) -> bool:
        job = self.job
        spent = job.max_cost_nusd is not None and job.spent_nusd >= job.max_cost_nusd
        in_time = self._desk.clock() < job.expires_at
        return job.status == "in_progress" and in_time and not spent and not self._stopping.is_set()

    def _room(self) -> int:
        """How many more lines may go out now: as the knob says, or as a local engine's window has room."""
        current, knobs = self._gateway.settings.current.settings, self._knobs
        if self._live_calls() > knobs.live_share * current.gateway.max_open_calls:
            return 0
        served = self._deployments()
        windows = [each.max_parallel for each in served if each.max_parallel is not None]
        if not served or len(windows) < len(served):
            return max(knobs.max_parallel - len(self.under_way), 0)
        window = max(int(sum(windows) * knobs.window_share), 1)
        is_local = all(each.provider == "vllm" for each in served)
        most = window if is_local else min(window, knobs.max_parallel)
        busy = sum(self._gateway.upstream.health.open_calls(each.name) for each in served)
        return max(min(most - len(self.under_way), window - busy), 0)

    def _deployments(self) -> list[Deployment]:
        """Who answers to the job's one model; nobody where its lines ask for several."""
        if self.job.model is None:
            return []
        try:
            found = find_candidates(self.job.model, self._gateway.settings.current.settings)
        except GatewayError:
            return []
        return [deployment for deployment, weight in found.weighted if weight]

    async def _place(self, line: LineRow) -> _Outcome:
        """Send a line, again after a pause while it is answered that there is no room."""
        charged_nusd, pause_s = 0, self._knobs.backoff_ms / 1000
        for attempt in range(1, self._knobs.max_tries + 1):
            end, again_ms, cost_nusd = await self._ask(line)
            charged_nusd += cost_nusd
            if end.status_code not in BUSY or attempt == self._knobs.max_tries:
                break
            if await self._stops_within(max(pause_s, (again_ms or 0) / 1000)):
                return None, charged_nusd
            pause_s *= 2
        return end, charged_nusd

    async def _ask(self, line: LineRow) -> tuple[LineEnd, int | None, int]:
        gateway = self._gateway
        endpoint = cast("Endpoint", ENDPOINTS[self.job.endpoint])
        entry, body, again_ms, status = gateway.open_entry(endpoint), b"", None, 200
        try:
            arrival = Arrival(endpoint, self._headers, line.body, owner=gateway.keys.find(self.job.key_id))
            async with aclosing(answer(arrival, entry, gateway)) as chunks:
                async for chunk in chunks:
                    body = chunk.data
            await gateway.ledger.durable()
        except Exception as fault:  # noqa: BLE001 - a line that fails must not keep the others from their end
            error = as_gateway_error(fault)
            status, body, again_ms = error.status, error.body(), error.retry_after_ms
        finally:
            gateway.open_calls -= 1
        state = "completed" if status == 200 else "failed"
        call_id = entry.id if entry.tenant is not None else None
        return LineEnd(line.number, state, call_id, status, body), again_ms, _charge(entry)

    async def _stops_within(self, pause_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(pause_s, _LONGEST_PAUSE_S)):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _beat(self) -> None:
        """Keep the lease while something takes long; losing it is found out by whoever writes next."""
        while True:
            await asyncio.sleep(self._desk.lease_ms() / 3000)
            with suppress(LeaseLost, DatabaseError):
                await asyncio.to_thread(self._desk.renew, self.job)

    def _rules(self) -> Rules:
        settings = self._gateway.settings.current.settings

        def is_served(model: str) -> bool:
            try:
                find_candidates(model, settings)
            except ModelNotFound:
                return False
            return True

        return Rules(self.job.endpoint, settings.batch.max_lines, is_served)

    @property
    def _knobs(self) -> BatchSettings:
        return self._gateway.settings.current.settings.batch


def _charge(entry: Entry) -> int:
    """What a call counts against the budget: its cost, or the most it can have cost where that is unknown."""
    if entry.cost_nusd is not None:
        return entry.cost_nusd
    return sum(attempt.reserved_nusd or 0 for attempt in entry.tries)

"""One batch job at work in this worker: its lines go through the pipeline as calls of the job's owner, some at once.

A line is written as begun before it goes out, and its outcome in the transaction that begins the next ones. What a
lost worker had begun is done again by whoever takes the job up; the row of the lost call stays in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from backend.batch.desk import Desk, Ended, JobRow, LeaseLost, LineEnd, LineRow
from backend.batch.lines import Problem
from backend.errors import GatewayError
from backend.gateway.job_rules import rules_of
from backend.gateway.line_run import LineRun
from backend.routing.router import Candidates, find_candidates
from db.engine import DatabaseError, RowRefused

if TYPE_CHECKING:
    from backend.gateway.gateway import Gateway
    from backend.settings.knobs import BatchSettings

log = logging.getLogger("governor.batch")

_LOOK_S = 0.25
_EXCHANGE_S = 1.0
_RETRY_S, _LONGEST_RETRY_S = 0.5, 10.0
_REFUSED = Problem("internal_error", "The database does not take what this batch came to; its lines are kept.")


class JobRun:
    """A claimed job, from wherever it stands to its end, or until the worker stops."""

    def __init__(self, gateway: Gateway, desk: Desk, job: JobRow, live_calls: Callable[[], int]) -> None:
        self.job = job
        self.under_way: dict[asyncio.Task[LineEnd], int] = {}
        """Lines that are out, by their number."""
        self._gateway = gateway
        self._desk = desk
        self._live_calls = live_calls
        self._stopping, self._cut = asyncio.Event(), asyncio.Event()
        self._exchanged = 0.0
        tag = {"x-governor-tag-batch": job.id}
        labels: dict[str, str] = tag | orjson.loads(job.labels or "{}") | tag  # first: no other tag takes its place
        headers = {name.encode("latin-1"): text.encode("latin-1") for name, text in labels.items()}
        self._lines = LineRun(gateway, job, headers, desk.clock)

    def stop(self) -> None:
        """Begin no more lines; those under way are finished and the job is let go."""
        self._stopping.set()
        self._lines.over.set()

    def cut(self) -> None:
        """Wait for no line any longer."""
        self.stop()
        self._cut.set()
        for task in self.under_way:
            task.cancel()

    async def run(self) -> None:
        """Do the job; what stands in the way is logged, and whoever takes the job up next goes on."""
        beat = asyncio.create_task(self._beat())
        try:
            await self._advance()
        except LeaseLost:
            log.warning("batch job %s was taken up by another worker", self.job.id)
        except RowRefused:
            log.exception("batch job %s cannot be written", self.job.id)
            with suppress(LeaseLost, DatabaseError):
                await asyncio.to_thread(self._desk.fail, self.job, _REFUSED)
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
            self.job = await asyncio.to_thread(self._desk.prepare, self.job, rules_of(self.job, self._gateway))
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
            self.under_way |= {asyncio.create_task(self._lines.place(line)): line.number for line in lines}
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
            await _comes_within(self._stopping, _LOOK_S)

    async def _exchange(self, wanted: int) -> Sequence[LineRow]:
        done = {task for task in self.under_way if task.done()}
        stale = time.monotonic() - self._exchanged > _EXCHANGE_S
        if not done and not wanted and not stale:
            return ()
        ended = Ended([task.result() for task in done if not task.cancelled()])
        lines = await self._insist(
            ended, [number for task, number in self.under_way.items() if task not in done], wanted
        )
        for task in done:
            del self.under_way[task]
        self._exchanged = time.monotonic()
        if self.job.status != "in_progress" or self.job.errors is not None:
            self._lines.over.set()
        return lines

    async def _insist(self, ended: Ended, held: Sequence[int], wanted: int) -> Sequence[LineRow]:
        """Write what ended however long the database is away: it was paid, and the lease is ours until it is lost."""
        pause_s = _RETRY_S
        while True:
            try:
                self.job, lines = await asyncio.to_thread(self._desk.exchange, self.job, ended, wanted)
                return lines
            except RowRefused:
                raise
            except DatabaseError as error:
                log.warning("batch job %s waits for the database: %s", self.job.id, type(error).__name__)
                if await _comes_within(self._cut, pause_s):
                    raise
            ended = replace(ended, held=held)  # the database may have taken what it did not confirm
            wanted, pause_s = wanted if self._may_begin() else 0, min(pause_s * 2, _LONGEST_RETRY_S)

    def _may_begin(self) -> bool:
        job = self.job
        spent = job.max_cost_nusd is not None and job.spent_nusd >= job.max_cost_nusd
        in_time = self._desk.clock() < job.expires_at
        is_open = job.status == "in_progress" and job.errors is None
        return is_open and in_time and not spent and not self._stopping.is_set()

    def _room(self) -> int:
        """How many more lines may go out now: as the knob says, or as a local engine's window has room."""
        current, knobs = self._gateway.settings.current.settings, self._knobs
        if self._live_calls() > knobs.live_share * current.gateway.max_open_calls:
            return 0
        found = self._find_candidates()
        if self._lines.away or self._all_rest(found):
            return 0
        served = [deployment for deployment, weight in found.weighted if weight] if found else []
        windows = [each.max_parallel for each in served if each.max_parallel is not None]
        if not served or len(windows) < len(served):
            return max(knobs.max_parallel - len(self.under_way), 0)
        window = max(int(sum(windows) * knobs.window_share), 1)
        is_local = all(each.provider == "vllm" for each in served)
        most = window if is_local else min(window, knobs.max_parallel)
        busy = sum(self._gateway.upstream.health.open_calls(each.name) for each in served)
        return max(min(most - len(self.under_way), window - busy), 0)

    def _find_candidates(self) -> Candidates | None:
        """Who answers to the job's one model; None where its lines ask for several."""
        if self.job.model is None:
            return None
        try:
            return find_candidates(self.job.model, self._gateway.settings.current.settings)
        except GatewayError:
            return None

    def _all_rest(self, found: Candidates | None) -> bool:
        everybody = [*(each for each, _ in found.weighted), *found.fallbacks] if found else []
        return bool(everybody) and all(self._gateway.upstream.health.resting(each.name) for each in everybody)

    async def _beat(self) -> None:
        """Keep the lease while something takes long; losing it is found out by whoever writes next."""
        while True:
            await asyncio.sleep(self._desk.lease_ms() / 3000)
            with suppress(LeaseLost, DatabaseError):
                await asyncio.to_thread(self._desk.renew, self.job)

    @property
    def _knobs(self) -> BatchSettings:
        return self._gateway.settings.current.settings.batch


async def _comes_within(event: asyncio.Event, pause_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await event.wait()
    return event.is_set()

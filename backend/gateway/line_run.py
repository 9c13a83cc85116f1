"""One line of a batch job on its way: sent as a call of the job's owner, again while nobody has room or is there."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from backend.batch.desk import JobRow, LineEnd, LineRow
from backend.batch.lines import ENDPOINTS
from backend.call import Arrival, Attempt, Endpoint, Entry
from backend.errors import GatewayError, UpstreamInterrupted, UpstreamRefused, UpstreamUnreachable, as_gateway_error
from backend.gateway.pipeline import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backend.gateway.gateway import Gateway

log = logging.getLogger("governor.batch")

BUSY = frozenset({429, 503})
"""What a line is answered when it may come again."""

_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Answered:
    """What one call came to; ``is_try``: the deployment was there, so that it counts as one of the line's tries."""

    end: LineEnd
    may_come_again: bool = False
    is_try: bool = True
    again_ms: int | None = None


class LineRun:
    """Sends the lines of one job; ``over`` is set when none of them shall wait any longer."""

    def __init__(self, gateway: Gateway, job: JobRow, headers: Mapping[bytes, bytes], clock: Callable[[], int]) -> None:
        self.over = asyncio.Event()
        self.away: set[int] = set()
        """Lines that wait for a deployment which is not there."""
        self._gateway = gateway
        self._job = job
        self._headers = headers
        self._clock = clock

    async def place(self, line: LineRow) -> LineEnd:
        """How the line ended; given back when the job is over before it has an answer."""
        knobs = self._gateway.settings.current.settings.batch
        tries, cost_nusd, pause_s = 0, cast("int | None", 0), knobs.backoff_ms / 1000
        try:
            while True:
                answered = await self._ask(line)
                tries += answered.is_try
                cost_nusd = _add(cost_nusd, answered.end.cost_nusd)
                if not answered.may_come_again or tries >= knobs.max_tries:
                    return replace(answered.end, cost_nusd=cost_nusd)
                (self.away.discard if answered.is_try else self.away.add)(line.number)
                if await self._is_over_within(max(pause_s, (answered.again_ms or 0) / 1000)):
                    return LineEnd(line.number, "waiting", cost_nusd=cost_nusd)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        finally:
            self.away.discard(line.number)

    async def _ask(self, line: LineRow) -> _Answered:
        gateway, endpoint = self._gateway, cast("Endpoint", ENDPOINTS[self._job.endpoint])
        entry, body, error = gateway.open_entry(endpoint), b"", None
        try:
            arrival = Arrival(endpoint, self._headers, line.body, owner=gateway.keys.find(self._job.key_id))
            async with aclosing(answer(arrival, entry, gateway)) as chunks:
                async for chunk in chunks:
                    body = chunk.data
            await self._make_durable(entry)
        except Exception as fault:  # noqa: BLE001 - a line that fails must not keep the others from their end
            error = as_gateway_error(fault)
        finally:
            gateway.open_calls -= 1
        call_id, cost_nusd = entry.id if entry.tenant is not None else None, charge(entry)
        cost_nusd = line.bound_nusd if cost_nusd is None else cost_nusd
        if error is None:
            return _Answered(LineEnd(line.number, "completed", call_id, 200, body, cost_nusd))
        end = LineEnd(line.number, "failed", call_id, error.status, error.body(), cost_nusd)
        return _Answered(end, _may_come_again(error, entry), self._is_try(error, entry), error.retry_after_ms)

    async def _make_durable(self, entry: Entry) -> None:
        """An answer that is there stays: it was paid, and the job's own record of it is on its way to the database."""
        try:
            await self._gateway.ledger.durable()
        except GatewayError as error:
            log.warning("call %s of a batch job may not survive a power cut: %s", entry.id, error.message)

    def _is_try(self, error: GatewayError, entry: Entry) -> bool:
        """Nobody there, nothing sent, a deployment that rests: none of this says anything about the line."""
        if isinstance(error, UpstreamUnreachable) or not entry.tries:
            return False
        return not self._gateway.upstream.health.resting(entry.deployment or "")

    async def _is_over_within(self, pause_s: float) -> bool:
        left_s = (self._job.expires_at - self._clock()) / 1000
        with suppress(TimeoutError):
            async with asyncio.timeout(max(min(pause_s, left_s, _LONGEST_PAUSE_S), 0)):
                await self.over.wait()
        return self.over.is_set() or self._clock() >= self._job.expires_at


def charge(entry: Entry) -> int | None:
    """What a call counts against the budget: each try's cost, or the most it can have cost; None: nobody knows."""
    if not entry.tries:
        return entry.cost_nusd
    total: int | None = 0
    for attempt in entry.tries:
        total = _add(total, _charge_try(attempt))
    return total


def _charge_try(attempt: Attempt) -> int | None:
    if attempt.state == "failed":
        return 0
    return attempt.cost_nusd if attempt.cost_nusd is not None else attempt.reserved_nusd


def _add(left_nusd: int | None, right_nusd: int | None) -> int | None:
    return None if left_nusd is None or right_nusd is None else left_nusd + right_nusd


def _may_come_again(error: GatewayError, entry: Entry) -> bool:
    """No room, nobody there, or an own engine that broke off: sent again, the line can have its answer."""
    if error.status in BUSY or isinstance(error, UpstreamUnreachable):
        return True
    broken = isinstance(error, UpstreamInterrupted) or (isinstance(error, UpstreamRefused) and error.status >= 500)
    return broken and entry.provider == "vllm"

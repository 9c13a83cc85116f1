"""Prefetch at work: looks for entries about to expire, asks again for those that are worth it, within the day's budget.

While it is off nothing is looked at. Each worker asks for two at a time; an entry belongs to one worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backend.cache.exact import StoreUnavailable, bypass_reason, key_of
from backend.cache.prefetch import decide, lead_ms, nano, read_request
from backend.call import Call, Entry
from backend.errors import GatewayError
from backend.gateway.own_calls import make_call, open_own_entry

if TYPE_CHECKING:
    from backend.cache.prefetch import Decision, Due, Refreshes
    from backend.gateway.gateway import Gateway
    from backend.settings.knobs import CacheSettings

ORIGIN = "warmup"
_LOOK_S = 5.0
_AT_ONCE = 2
_DAY_MS = 86_400_000

log = logging.getLogger("governor.prefetch")


class Prefetching:
    """One worker's part in it."""

    def __init__(self, gateway: Gateway, refreshes: Refreshes) -> None:
        self._gateway = gateway
        self._refreshes = refreshes

    async def watch(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look()
            except StoreUnavailable as error:
                log.debug("prefetch waits for the cache: %s", error)
            except Exception:  # an optimisation may never end a worker
                log.exception("prefetch failed")

    async def look(self) -> None:
        """Ask again for what is due and worth it; raises ``StoreUnavailable``."""
        if not self._is_on():
            return
        settings, now_ms = self._settings, _now_ms()
        found = await self._refreshes.list_due(now_ms, now_ms + lead_ms(settings))
        decided = ((due, decide(due, settings, now_ms)) for due in found)
        finds = _Finds(pair for pair in decided if pair[1].refresh)
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._work(finds))

    async def close(self) -> None:
        """Let go of the store."""
        await self._refreshes.close()

    @property
    def _settings(self) -> CacheSettings:
        return self._gateway.settings.current.settings.cache

    def _is_on(self) -> bool:
        wanted = self._settings.prefetch_usd_per_day > 0 and self._settings.exact_enabled
        return wanted and not self._gateway.draining and self._gateway.ledger.can_record()

    async def _work(self, finds: _Finds) -> None:
        """Take one entry after the other; raises nothing, so that a call of the neighbour's is never cut off."""
        for due, decision in finds.worth:
            if not self._is_on():
                return
            try:
                await self._refresh(due, decision, finds)
            except StoreUnavailable as error:
                log.debug("prefetch waits for the cache: %s", error)
                return
            except Exception:  # the next entry may fare better
                log.exception("an entry could not be refreshed")

    async def _refresh(self, due: Due, decision: Decision, finds: _Finds) -> None:
        """Reserve what the entry cost, claim it, ask; then settle what it cost this time. Unknown stays reserved."""
        now_ms, cost_nusd = _now_ms(), due.cost_nusd or 0
        if cost_nusd >= finds.too_dear_nusd or not self._may_ask(due):
            return
        day = now_ms // _DAY_MS
        if not await self._refreshes.reserve(day, cost_nusd, nano(self._settings.prefetch_usd_per_day)):
            finds.too_dear_nusd = cost_nusd
            return
        entry = None
        try:
            call = self._read(due, await self._refreshes.claim(due, now_ms))
            if call is not None:
                entry = open_own_entry(self._gateway, call, ORIGIN, due.tenant)
                entry.note(f"prefetch: {decision.reason}")
                await self._renew(call, due.key, entry)
        finally:
            spent_nusd = 0 if entry is None else entry.cost_nusd
            if spent_nusd is not None and spent_nusd != cost_nusd:
                await self._refreshes.settle(day, spent_nusd - cost_nusd)

    async def _renew(self, call: Call, key: bytes, entry: Entry) -> None:
        try:
            await make_call(self._gateway, call, entry)
        except GatewayError as error:
            log.debug("an entry was not refreshed: %s", error)
            return
        await self._gateway.cache.renew(call, key, entry, self._settings)

    def _may_ask(self, due: Due) -> bool:
        """Whether a deployment answers to the model, and none of its deployments rests."""
        asked = Call("chat.completions", {}, due.model, stream=False, wants_usage=False)
        try:
            route = self._gateway.routing.choose(asked, self._gateway.settings.current.settings)
        except GatewayError:
            return False
        return not route.dropped and not self._gateway.upstream.health.resting(route.deployments[0].name)

    def _read(self, due: Due, request: bytes | None) -> Call | None:
        """The call that belongs to the entry's key, as calls are treated now; None for anything else."""
        call = None if request is None else read_request(due, request)
        if call is None or bypass_reason(call, self._settings) is not None or key_of(call, due.tenant) != due.key:
            return None
        return call


class _Finds:
    """What one look found worth asking for, shared by those who ask."""

    def __init__(self, worth: Iterator[tuple[Due, Decision]]) -> None:
        self.worth = worth
        self.too_dear_nusd: float = float("inf")
        """From this cost on the day's budget does not suffice."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

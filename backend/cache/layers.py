"""The cache as a call meets it: the exact layer, then the semantic one where it is switched on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from backend.cache.exact import ExactCache
from backend.call import CacheResult

if TYPE_CHECKING:
    from backend.call import Call, Entry, StoredAnswer
    from backend.settings.knobs import CacheSettings

log = logging.getLogger("governor.cache")


class SecondLayer(Protocol):
    """What answers questions that were asked before in other words."""

    def begin(self, settings: CacheSettings) -> None:
        """Begin to load what look-ups need; returns at once."""
        ...

    async def look_up(self, call: Call, tenant: str, exact: CacheResult, settings: CacheSettings) -> CacheResult:
        """A semantic hit, or the exact layer's miss with what was found; raises nothing."""
        ...

    def keep(self, stored: StoredAnswer | None, found: CacheResult, entry: Entry, settings: CacheSettings) -> None:
        """Take note of a fresh answer; returns at once. ``stored`` is what the exact layer kept of it, if it did."""
        ...

    async def close(self) -> None:
        """Let go of files, connections and threads."""
        ...


class LazySemantic:
    """The semantic layer, made when the first call wants it: it is off by default, and its libraries are heavy."""

    def __init__(self, make: Callable[[], SecondLayer]) -> None:
        self._make = make
        self._made: SecondLayer | None = None
        self._making: asyncio.Future[None] | None = None
        self._warming: asyncio.Task[None] | None = None

    @property
    def made(self) -> SecondLayer | None:
        """The layer, once it was wanted."""
        return self._made

    def begin(self, settings: CacheSettings) -> None:
        """Begin to make the layer, so that the first questions meet it; returns at once."""
        self._warming = asyncio.get_running_loop().create_task(self._warm(settings))

    async def _warm(self, settings: CacheSettings) -> None:
        layer = await self.make()
        if layer is not None:
            layer.begin(settings)

    async def make(self) -> SecondLayer | None:
        """The layer, made if nobody wanted it before; None where it cannot be used."""
        if self._made is None:
            await asyncio.wait({self._begin()})
        return self._made

    async def look_up(self, call: Call, tenant: str, exact: CacheResult, settings: CacheSettings) -> CacheResult:
        """What the layer says; the exact layer's miss until it is made."""
        if self._made is None:
            self._begin()
            return exact
        return await self._made.look_up(call, tenant, exact, settings)

    def keep(self, stored: StoredAnswer | None, found: CacheResult, entry: Entry, settings: CacheSettings) -> None:
        """Pass a fresh answer on to the layer."""
        if self._made is not None:
            self._made.keep(stored, found, entry, settings)

    async def close(self) -> None:
        """Let the layer go, if it was ever made."""
        if self._warming is not None:
            await asyncio.wait({self._warming})
        if self._making is not None:
            await asyncio.wait({self._making})
        if self._made is not None:
            await self._made.close()

    def _begin(self) -> asyncio.Future[None]:
        if self._making is None:
            self._making = asyncio.ensure_future(asyncio.to_thread(self._import))
        return self._making

    def _import(self) -> None:
        try:
            self._made = self._make()
        except ImportError as error:
            log.warning("the semantic cache cannot be used: %s", error)


class Cache:
    """Look-up before the call, storing after it."""

    def __init__(self, exact: ExactCache, semantic: SecondLayer | None = None) -> None:
        self.exact = exact
        self.semantic = semantic

    async def look_up(self, call: Call, tenant: str, settings: CacheSettings) -> CacheResult:
        """A hit, a miss, or the reason why the cache was bypassed; raises only ``IdempotencyMismatch``."""
        found = await self.exact.look_up(call, tenant, settings)
        if found.kind != "miss" or not settings.semantic_enabled or self.semantic is None:
            return found
        return await self.semantic.look_up(call, tenant, found, settings)

    def store(self, call: Call, found: CacheResult, entry: Entry, settings: CacheSettings) -> None:
        """Keep a complete answer in every layer; returns at once."""
        stored = self.exact.store(call, found, entry, settings)
        if found.match is not None and self.semantic is not None and entry.cache_kind == "miss":
            self.semantic.keep(stored, found, entry, settings)

    async def renew(self, call: Call, key: bytes, entry: Entry, settings: CacheSettings) -> StoredAnswer | None:
        """Put a complete answer that Governor asked for itself in an entry's place; what was kept, if it was.

        The semantic layer forgets a question when its answer expires, so it learns it anew.
        """
        found = CacheResult("miss", key)
        if settings.semantic_enabled and self.semantic is not None:
            match = (await self.semantic.look_up(call, str(entry.tenant), found, settings)).match
            found = found._replace(match=match and replace(match, verify=False))
        stored = self.exact.store(call, found, entry, settings)
        if stored is not None and found.match is not None and self.semantic is not None:
            self.semantic.keep(stored, found, entry, settings)
        return stored

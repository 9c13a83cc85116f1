"""What lies in the cache, for people rather than for calls: looked at, counted, listed, purged.

Everything here blocks and belongs in a thread; a store that does not answer raises ``StoreUnavailable``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from backend.cache.exact import StoreUnavailable
from backend.call import StoredAnswer
from db.cache_contents import (
    Selection,
    TopEntry,
    count_live,
    delete_selected,
    find_selected,
    list_top,
    opened_contents,
)
from db.cache_entries import StorageError, find_entry

__all__ = ["Amount", "Contents", "SQLiteContents", "Selection", "TopEntry", "Unseen", "purge"]

_SETTLE_S = 0.3
"""Workers write entries within a tenth of a second; until then each has its own in memory."""
_MOST_SWEEPS = 5


@dataclass(slots=True, frozen=True)
class Amount:
    """Live entries of each layer; None where counting took too long."""

    exact: int | None
    semantic: int | None


class Contents(Protocol):
    """The entries of both layers, wherever they are."""

    @property
    def place(self) -> str:
        """Where that is, in words for people."""
        ...

    def peek(self, key: bytes) -> StoredAnswer | None:
        """The live entry of the exact layer under a key; to look is no hit."""
        ...

    def count(self) -> Amount:
        """How many entries there are."""
        ...

    def list_top(self, selection: Selection, limit: int) -> list[TopEntry]:
        """The entries of the exact layer that were served most often, those first."""
        ...

    def purge(self, selection: Selection, *, dry_run: bool) -> Amount:
        """Delete the entries that are meant, or only count them; every worker stops serving them at once."""
        ...


class Unseen:
    """A store as it is seen by those who look things up: what they find is no hit, and they keep nothing."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    async def find(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        """The live entry under a key; raises ``StoreUnavailable``."""
        return await self.peek(key, timeout_ms)

    async def peek(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:  # noqa: ARG002 - people wait
        """The same."""
        return await asyncio.to_thread(self._contents.peek, key)

    def put(self, stored: StoredAnswer, max_bytes: int) -> None:
        """Nothing is kept."""


class SQLiteContents:
    """The entries in the file of this machine, which all of its workers share."""

    place = "file of this machine"

    def __init__(self, path: Path) -> None:
        self._path = path

    def peek(self, key: bytes) -> StoredAnswer | None:
        """The live entry of the exact layer under a key."""
        with self._reading(), opened_contents(self._path) as connection:
            row = find_entry(connection, key, _now_ms())
        return StoredAnswer(*row) if row else None

    def count(self) -> Amount:
        """How many entries there are; by an index, so it is quick."""
        with self._reading(), opened_contents(self._path) as connection:
            exact, semantic = (count_live(connection, layer, _now_ms()) for layer in ("exact", "semantic"))
        return Amount(exact, semantic)

    def list_top(self, selection: Selection, limit: int) -> list[TopEntry]:
        """The entries that were served most often."""
        with self._reading(), opened_contents(self._path) as connection:
            return list_top(connection, selection, limit, _now_ms())

    def purge(self, selection: Selection, *, dry_run: bool) -> Amount:
        """Delete in small transactions; what has expired goes too, and is not counted."""
        with self._reading(), opened_contents(self._path) as connection:
            found = {layer: find_selected(connection, layer, selection) for layer in ("exact", "semantic")}
            if not dry_run:
                for layer, entries in found.items():
                    delete_selected(connection, layer, entries)
        now_ms = _now_ms()
        return Amount(*(sum(expires_at > now_ms for expires_at in entries.values()) for entries in found.values()))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise StoreUnavailable(f"cache file: {error}"[:200]) from None


async def purge(contents: Contents, selection: Selection) -> Amount:
    """Purge what is stored by now, also what other workers are about to write; raises ``StoreUnavailable``."""
    asked_at = _now_ms() + 1
    bound = asked_at if selection.stored_before is None else min(asked_at, selection.stored_before)
    selection = replace(selection, stored_before=bound)
    exact = semantic = 0
    for _ in range(_MOST_SWEEPS):
        await asyncio.sleep(_SETTLE_S)
        gone = await asyncio.to_thread(contents.purge, selection, dry_run=False)
        exact, semantic = exact + (gone.exact or 0), semantic + (gone.semantic or 0)
        if not gone.exact and not gone.semantic:
            break
    return Amount(exact, semantic)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

"""Prefetch over entries in a SQLite file: a connection and a thread of its own, neither of them before it is on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backend.cache.exact import StoreUnavailable
from backend.cache.prefetch import CLAIM_MS, MOST_LISTED, Due
from backend.cache.sqlite_store import step_back
from db.cache_entries import StorageError
from db.cache_refreshes import claim_due, list_due, open_refreshes, reserve_spending, settle_spending


class SQLiteRefreshes:
    """The entries and the day's spending in the file of this machine, which all of its workers share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "cache-prefetch", step_back)
        self._connection: Any = None

    async def list_due(self, now_ms: int, before_ms: int) -> list[Due]:
        """Unclaimed entries with a recipe and with hits that expire before a time, those with most hits first."""
        return [Due(*row) for row in await self._run(list_due, now_ms, before_ms, CLAIM_MS, MOST_LISTED)]

    async def claim(self, due: Due, now_ms: int) -> bytes | None:
        """The request, for the one worker that may ask it now."""
        request: bytes | None = await self._run(claim_due, due.key, due.stored_at, now_ms, CLAIM_MS)
        return request

    async def reserve(self, day: int, amount_nusd: int, limit_nusd: int) -> bool:
        """Count an amount as spent, unless the day's sum would exceed the limit."""
        return bool(await self._run(reserve_spending, day, amount_nusd, limit_nusd))

    async def settle(self, day: int, difference_nusd: int) -> None:
        """Correct the day's sum."""
        await self._run(settle_spending, day, difference_nusd)

    async def close(self) -> None:
        """Close the file, if it was ever opened."""
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()

    async def _run(self, work: Callable[..., Any], *values: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work, values)
        except StorageError as error:
            raise StoreUnavailable(f"cache file: {type(error).__name__}") from None

    def _work(self, work: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        if self._connection is None:
            self._connection = open_refreshes(self._path)
        return work(self._connection, *values)

"""Entries in a SQLite file: found on the event loop in microseconds, written behind the answer in batches."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.cache.exact import StoreUnavailable
from backend.call import StoredAnswer
from db.cache_entries import StorageError, expire_entries, find_entry, open_entries, shrink_entries, write_entries

_MOST_PENDING = 20_000
_MOST_PENDING_BYTES = 64 * 1024 * 1024
_BATCH_S = 0.1
_TIDY_EVERY_S = 10.0


class SQLiteStore:
    """One reading and one writing connection; entries on their way to disk are found in memory."""

    def __init__(self, path: Path) -> None:
        self._reading = open_entries(path)
        self._writing = open_entries(path)
        self._writer = ThreadPoolExecutor(1, "cache-writer", step_back)
        self._pending: dict[bytes, StoredAnswer] = {}
        self._pending_bytes = 0
        self._hits: dict[bytes, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._max_bytes = 0
        self._tidied = time.monotonic()
        self.dropped = 0

    async def find(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:  # noqa: ARG002 - local
        """The live entry under a key; raises ``StoreUnavailable``."""
        stored = self._read(key)
        if stored is not None:
            self._hits[key] = self._hits.get(key, 0) + 1
            self._schedule()
        return stored

    async def peek(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:  # noqa: ARG002 - local
        """The same, and no hit."""
        return self._read(key)

    def _read(self, key: bytes) -> StoredAnswer | None:
        now_ms = time.time_ns() // 1_000_000
        stored = self._pending.get(key)
        if stored is None:
            try:
                row = find_entry(self._reading, key, now_ms)
            except StorageError as error:
                raise StoreUnavailable(f"cache file: {type(error).__name__}") from None
            stored = StoredAnswer(*row) if row else None
        return stored if stored is not None and stored.expires_at > now_ms else None

    def put(self, stored: StoredAnswer, max_bytes: int) -> None:
        """Keep an entry; dropped, and counted, when the writer is too far behind."""
        if len(self._pending) >= _MOST_PENDING or self._pending_bytes >= _MOST_PENDING_BYTES:
            self.dropped += 1
            return
        self._pending[stored.key] = stored
        self._pending_bytes += _size(stored)
        self._max_bytes = max_bytes
        self._schedule()

    def describe(self) -> dict[str, Any]:
        """How it is, for people."""
        return {"dropped": self.dropped, "breaker": None}

    async def close(self) -> None:
        """Write what is pending and close the file."""
        if self._task is not None:
            await self._task
        self._writer.shutdown()
        self._reading.close()
        self._writing.close()

    def _schedule(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_behind())

    async def _write_behind(self) -> None:
        """Gather for a moment, then write in a thread; an entry leaves memory only once it is on disk."""
        while self._pending or self._hits:
            await asyncio.sleep(_BATCH_S)
            batch, hits = list(self._pending.values()), self._hits
            self._hits = {}
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, batch, hits)
            for stored in batch:
                self._pending_bytes -= _size(stored)
                if self._pending.get(stored.key) is stored:
                    del self._pending[stored.key]
            self._pending_bytes = self._pending_bytes if self._pending else 0

    def _write(self, batch: list[StoredAnswer], hits: dict[bytes, int]) -> None:
        try:
            write_entries(self._writing, map(_row, batch), hits)
            if time.monotonic() - self._tidied > _TIDY_EVERY_S:
                self._tidied = time.monotonic()
                expire_entries(self._writing, time.time_ns() // 1_000_000)
                shrink_entries(self._writing, self._max_bytes)
        except StorageError:
            self.dropped += len(batch)


def step_back() -> None:
    """Calls come first: on a busy core this thread would otherwise hold one up for a whole time slice (3 ms)."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _row(s: StoredAnswer) -> tuple[Any, ...]:
    """The values in the order of the fields."""
    where, when = (s.tenant, s.model, s.call_id), (s.stored_at, s.expires_at)
    source = (s.cost_nusd, s.deployment, s.provider, s.fingerprint)
    again = s.recipe and (s.recipe.endpoint, s.recipe.namespace, s.recipe.latency_ms, bytearray(s.recipe.request))
    return (bytearray(s.key), *where, bytearray(s.body), *when, *source, *(again or (None,) * 4))


def _size(stored: StoredAnswer) -> int:
    return len(stored.body) + (len(stored.recipe.request) if stored.recipe else 0)

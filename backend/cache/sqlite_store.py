"""Entries in a SQLite file: found on the event loop in microseconds, written behind the answer by one thread."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from threading import Lock

from backend.cache.exact import StoreUnavailable
from backend.call import StoredAnswer
from db.cache_entries import StorageError, find_entry, open_entries, shrink_entries, write_entries

_MOST_PENDING = 2000
_SHRINK_EVERY = 50


class SQLiteStore:
    """One reading and one writing connection; entries on their way to disk are found in memory."""

    def __init__(self, path: Path) -> None:
        self._reading = open_entries(path)
        self._writing = open_entries(path)
        self._writer = ThreadPoolExecutor(1, "cache-writer")
        self._lock = Lock()
        self._pending: dict[bytes, StoredAnswer] = {}
        self._hits: dict[bytes, int] = {}
        self._scheduled = False
        self._batches = 0
        self.dropped = 0

    async def find(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:  # noqa: ARG002 - local
        """The live entry under a key; raises ``StoreUnavailable``."""
        now_ms = time.time_ns() // 1_000_000
        stored = self._pending.get(key)
        if stored is None:
            try:
                row = find_entry(self._reading, key, now_ms)
            except StorageError as error:
                raise StoreUnavailable(f"cache file: {type(error).__name__}") from None
            stored = StoredAnswer(*row) if row else None
        if stored is not None and stored.expires_at > now_ms:
            self._hits[key] = self._hits.get(key, 0) + 1
            return stored
        return None

    def put(self, stored: StoredAnswer, max_bytes: int) -> None:
        """Keep an entry; dropped, and counted, when the writer is too far behind."""
        if len(self._pending) >= _MOST_PENDING:
            self.dropped += 1
            return
        with self._lock:
            self._pending[stored.key] = stored
            if self._scheduled:
                return
            self._scheduled = True
        self._writer.submit(self._write, max_bytes)

    def close(self) -> None:
        """Write what is pending and close the file."""
        self._writer.shutdown(wait=True)
        self._write(0)
        self._reading.close()
        self._writing.close()

    def _write(self, max_bytes: int) -> None:
        with self._lock:
            self._scheduled = False
            batch = dict(self._pending)
            hits, self._hits = self._hits, {}
        try:
            write_entries(self._writing, map(_columns, batch.values()), hits, time.time_ns() // 1_000_000)
            self._batches += 1
            if max_bytes and self._batches % _SHRINK_EVERY == 0:
                shrink_entries(self._writing, max_bytes)
        except StorageError:
            self.dropped += len(batch)
        with self._lock:
            for key, stored in batch.items():
                if self._pending.get(key) is stored:
                    del self._pending[key]


def _columns(stored: StoredAnswer) -> tuple[object, ...]:
    return astuple(stored)

"""Entries in a SQLite file, shared by the workers of one machine; each worker searches vectors of its own memory.

The file is the truth: a candidate found in memory is read from it before it is returned, so what was removed by anyone
is not found, whether or not this worker has heard of it. Start does not wait: a thread loads the vectors, oldest first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from itertools import compress
from pathlib import Path

import numpy as np

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.follower import Follower
from backend.cache.semantic.index import Found, SemanticEntry, namespace_of, rank, weigh
from backend.cache.semantic.packing import pack_entry, pack_vector, unpack_entry, unpack_vectors
from backend.cache.semantic.vectors import Batch, Vectors
from db.semantic_entries import (
    Row,
    StorageError,
    find_first,
    last_removal,
    open_semantic_entries,
    read_new_entries,
    read_new_removals,
    read_packed,
    tidy_semantic_entries,
    write_semantic_entries,
)

_MOST_PENDING = 20_000
_MOST_PENDING_BYTES = 64 * 1024 * 1024
_BATCH_S = 0.1
_POLL_S = 0.5
_TIDY_EVERY_S = 10.0
_CHUNK = 512
_READ_WAIT_S = 0.05
_WRITE_WAIT_S = 2.0
_MOST_TRIES = 4


class EmbeddedIndex:
    """Reads on the event loop, about 20 µs an entry; writes from one thread; follows the file in another."""

    mode = "file of this machine"

    def __init__(self, path: Path, embedder: str, dimension: int, most_entries: int = 100_000) -> None:
        self._namespace = namespace_of(embedder, dimension)
        self._dimension = dimension
        self._most = most_entries
        self._reading = open_semantic_entries(path, waits_s=_READ_WAIT_S)
        self._writing = open_semantic_entries(path, waits_s=_WRITE_WAIT_S)
        self._following = open_semantic_entries(path, waits_s=_WRITE_WAIT_S)
        self._vectors = Vectors(dimension, most_entries)
        self._pending: dict[str, SemanticEntry] = {}
        self._pending_bytes = 0
        self._removing: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._tidied = time.monotonic()
        self._position: tuple[int, int] | None = None
        self.timeout_ms = _READ_WAIT_S * 1000.0
        self.loaded = False
        self.dropped = 0
        self.damaged = 0
        self._follower = Follower(self._follow, _POLL_S)

    def __len__(self) -> int:
        return len(self._vectors)

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> Found:
        """At most ``count`` live entries of this partition, nearest first; raises ``StoreUnavailable``."""
        if vector.shape != (self._dimension,):
            raise StoreUnavailable("semantic index: a vector of another dimension")
        entries: dict[int, SemanticEntry] = {}
        for _ in range(_MOST_TRIES):
            labels = [label for label, _ in self._vectors.search(partition, vector, count)]
            entries = self._read(labels)
            if len(entries) == len(labels):
                break
            self._vectors.hide(set(labels) - entries.keys())
        return rank((each for each in entries.values() if each.id not in self._removing), partition, vector)

    def add(self, entry: SemanticEntry) -> None:
        """Keep an entry; dropped, and counted, when the writer is too far behind or the vector does not fit."""
        full = len(self._pending) >= _MOST_PENDING or self._pending_bytes >= _MOST_PENDING_BYTES
        if full or entry.embedding.vector.shape != (self._dimension,):
            self.dropped += 1
            return
        self._pending[entry.id] = entry
        self._pending_bytes += weigh(entry)
        self._schedule()

    def remove(self, ids: Collection[str]) -> None:
        """Forget entries: not found by this worker from now on, nor by any other once it is written."""
        for each in ids:
            self._pending.pop(each, None)
        self._removing.update(ids)
        self._schedule()

    async def close(self) -> None:
        """Write what is pending, end the thread, close the file."""
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._follower.stop)
        for connection in (self._reading, self._writing, self._following):
            connection.close()

    def _read(self, labels: list[int]) -> dict[int, SemanticEntry]:
        """The entries of these that are there and whole."""
        try:
            packed = read_packed(self._reading, labels)
        except StorageError as error:
            raise StoreUnavailable(f"semantic index: {type(error).__name__}") from None
        unpacked = {label: unpack_entry(raw) for label, raw in packed.items()}
        found = {label: entry for label, entry in unpacked.items() if entry is not None}
        self.damaged += len(unpacked) - len(found)
        return found

    def _schedule(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_behind())

    async def _write_behind(self) -> None:
        """Gather for a moment, then write in a thread."""
        while self._pending or self._removing:
            await asyncio.sleep(_BATCH_S)
            batch, removing = list(self._pending.values()), set(self._removing)
            self._pending.clear()
            await asyncio.to_thread(self._write, batch, removing)
            self._removing -= removing
            self._pending_bytes = sum(map(weigh, self._pending.values()))
            self._follower.wake()

    def _write(self, batch: list[SemanticEntry], removing: set[str]) -> None:
        rows = list(filter(None, map(self._row, batch)))
        self.dropped += len(batch) - len(rows)
        try:
            write_semantic_entries(self._writing, rows, removing)
            if time.monotonic() - self._tidied > _TIDY_EVERY_S:
                self._tidied = time.monotonic()
                tidy_semantic_entries(self._writing, time.time_ns() // 1_000_000, self._most)
        except StorageError:
            self.dropped += len(rows)

    def _row(self, e: SemanticEntry) -> tuple[Row, bytes] | None:
        """The values in the order of the columns, and the entry packed; None for text that is no Unicode."""
        try:
            packed = pack_entry(e)
        except TypeError:
            return None
        vector = bytearray(pack_vector(e.embedding.vector))
        where = (self._namespace, bytearray(e.partition), e.expires_at, vector)
        return (*where, e.id, e.tenant, e.model, bytearray(e.key), e.stored_at, e.question), packed

    def _follow(self) -> bool:
        """Take in what was added and removed since the last step; whether there is more."""
        if self._position is None:
            removal = last_removal(self._following)
            self._position = find_first(self._following, self._namespace, self._most), removal
        entry, removal = self._position
        rows = read_new_entries(self._following, self._namespace, entry, _CHUNK)
        removals = read_new_removals(self._following, removal, _CHUNK)
        if rows:
            self._take(rows)
        self._vectors.remove(gone for _, gone in removals)
        self._position = rows[-1][0] if rows else entry, removals[-1][0] if removals else removal
        if len(rows) < _CHUNK and len(removals) < _CHUNK:
            self.loaded = True
            self._vectors.expire()
            return False
        return True

    def _take(self, rows: list[Row]) -> None:
        """Add the vectors of rows that are whole."""
        vectors, sound = unpack_vectors([row[3] for row in rows], self._dimension)
        sound &= np.array([type(row[1]) is bytes and type(row[2]) is int for row in rows], bool)
        self.damaged += len(rows) - int(sound.sum())
        labels, partitions, expires_at, _ = zip(*compress(rows, sound), strict=True) if sound.any() else ((),) * 4
        kept = np.array(labels, np.int64), list(partitions), np.array(expires_at, np.int64)
        self._vectors.add(Batch(*kept, vectors[sound]))

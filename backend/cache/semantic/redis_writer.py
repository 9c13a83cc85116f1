"""Entries on their way to Redis: gathered behind the answers, written in transactions, dropped when it is away.

An entry is a hash that expires by itself: the packed entry, and what a search needs of it. The same hashes serve the
query engine and the workers' own indexes. What is dropped is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
from redis.exceptions import RedisError, ResponseError

from backend.cache.semantic.index import SemanticEntry, weigh
from backend.cache.semantic.packing import pack_entry
from backend.cache.semantic.redis_link import Link, Names, label_of, pack_labels

ADDED = b"added"
REMOVED = b"removed"
BEGAN = b"began"
MOST_CHANGES = 20_000
"""About how many batches the stream of changes keeps; a worker that missed more loads everything anew."""

_MOST_PENDING = 5_000
_MOST_PENDING_BYTES = 64 * 1024 * 1024
_MOST_REMOVING = 100_000
_BATCH = 64
_BATCH_S = 0.02


class RedisWriter:
    """One task that writes while there is something to write."""

    def __init__(self, link: Link, names: Names, wrote: Callable[[], None]) -> None:
        self._link = link
        self._names = names
        self._wrote = wrote
        self._pending: dict[str, SemanticEntry] = {}
        self._pending_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self.removing: set[str] = set()
        self.dropped = 0
        self.announces = True
        """Whether other workers must be told: not where the server searches."""

    def add(self, entry: SemanticEntry) -> None:
        """Write an entry; dropped, and counted, when Redis is away or too far behind."""
        full = len(self._pending) >= _MOST_PENDING or self._pending_bytes >= _MOST_PENDING_BYTES
        if full or self._link.breaker.open:
            self.dropped += 1
            return
        self._pending[entry.id] = entry
        self._pending_bytes += weigh(entry)
        self._schedule()

    def remove(self, ids: Collection[str]) -> None:
        """Delete entries; counted as dropped when Redis is away for longer than so many can be remembered."""
        for each in ids:
            self._pending.pop(each, None)
        self.removing.update(ids)
        self.dropped += max(len(self.removing) - _MOST_REMOVING, 0)
        while len(self.removing) > _MOST_REMOVING:
            self.removing.pop()
        self._schedule()

    async def close(self) -> None:
        """Write what is pending, for at most a second."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1.0)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    def _schedule(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_behind())

    async def _write_behind(self) -> None:
        while self._pending or self.removing:
            await asyncio.sleep(_BATCH_S)
            removing = list(self.removing)[:_BATCH]
            batch = [self._pending.pop(each) for each in list(self._pending)[:_BATCH]]
            self._pending_bytes = sum(map(weigh, self._pending.values())) if self._pending else 0
            if await self._write(batch, removing):
                self.removing.difference_update(removing)
                self._wrote()
            else:
                self.dropped += len(batch)
                await asyncio.sleep(0.5 if removing else 0.0)

    async def _write(self, batch: list[SemanticEntry], removing: list[str]) -> bool:
        """Whether Redis took it."""
        try:
            async with self._link.redis.pipeline(transaction=True) as pipe:
                for command in self._commands(batch, removing):
                    pipe.execute_command(*command)
                answers = await pipe.execute(raise_on_error=False)
            return not any(isinstance(answer, Exception) for answer in answers)
        except ResponseError:  # read-only, out of memory: reading may go on
            return False
        except (RedisError, OSError):
            self._link.breaker.failed()
            return False

    def _commands(self, batch: Iterable[SemanticEntry], removing: Iterable[str]) -> Iterable[tuple[Any, ...]]:
        """What takes entries away, then what puts entries in, then what tells the other workers."""
        gone = [label_of(each) for each in removing]
        if gone:
            yield ("DEL", *map(self._names.key, gone))
        packed = {entry.id: _pack(entry) for entry in batch}
        self.dropped += sum(each is None for each in packed.values())
        kept = [entry for entry in batch if packed[entry.id] is not None]
        for entry in kept:
            key = self._names.key(label_of(entry.id))
            vector = entry.embedding.vector.astype("<f4").tobytes()
            named = ("partition", entry.partition.hex(), "tenant", entry.tenant, "expires_at", entry.expires_at)
            yield ("DEL", key)
            yield ("HSET", key, *named, "vector", vector, "entry", packed[entry.id])
            yield ("PEXPIREAT", key, entry.expires_at)
        for word, labels in ((REMOVED, gone), (ADDED, [label_of(entry.id) for entry in kept])):
            if labels and self.announces:
                yield ("XADD", self._names.changes, "MAXLEN", "~", MOST_CHANGES, "*", word, pack_labels(labels))


def _pack(entry: SemanticEntry) -> bytes | None:
    """The entry as bytes; None for one that cannot be written."""
    try:
        return pack_entry(entry) if np.isfinite(entry.embedding.vector).all() else None
    except TypeError:
        return None

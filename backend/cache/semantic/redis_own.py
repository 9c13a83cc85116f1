"""A plain Redis keeps entries and a stream of changes; each worker searches an index of its own that follows them.

Redis is the truth: a candidate found in memory is read from it before it is returned. Everything is loaded anew by
``SCAN`` where changes cannot be followed: at the start, after a flush, when the stream was trimmed past this worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import compress
from typing import Any

import numpy as np
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.index import Found, SemanticEntry, rank
from backend.cache.semantic.packing import unpack_entry, unpack_vectors
from backend.cache.semantic.redis_link import Link, Names, ask, label_of, unpack_labels
from backend.cache.semantic.redis_writer import ADDED, BEGAN, REMOVED
from backend.cache.semantic.vectors import Batch, Vectors

_CHUNK = 512
_MOST_TRIES = 3
_START = b"0-0"


class OwnIndex:
    """Reads one round trip per look-up, and none where a partition has no entries."""

    mode = "redis, own index"

    def __init__(self, link: Link, names: Names, dimension: int, most_entries: int) -> None:
        self._link = link
        self._names = names
        self._dimension = dimension
        self._vectors = Vectors(dimension, most_entries)
        self._epoch: bytes | None = None
        self._position: bytes | None = None
        self._cursor: int | None = None
        self.loaded = False
        self.damaged = 0
        self.rebuilds = 0

    def __len__(self) -> int:
        return len(self._vectors)

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> Found:
        """The nearest within a partition; raises ``StoreUnavailable``."""
        labels = [label for label, _ in self._vectors.search(partition, vector, count)]
        if not labels:
            return []
        entries: dict[int, SemanticEntry] = {}
        async with self._link.attempt() as redis:
            for _ in range(_MOST_TRIES):
                entries = await self._read(redis, labels)
                if len(entries) == len(labels):
                    break
                self._vectors.hide(set(labels) - entries.keys())
                labels = [label for label, _ in self._vectors.search(partition, vector, count)]
        return rank(entries.values(), partition, vector)

    def hide(self, labels: Iterable[int]) -> None:
        """Find these no more."""
        self._vectors.hide(labels)

    def step(self, client: BlockingRedis) -> bool:
        """Load a page, or take in what changed; whether there is more. Raises ``RedisError``."""
        if self._cursor is not None:
            return self._load_page(client)
        try:
            return self._follow(client)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
        self.damaged += 1  # somebody else's value under one of our names
        client.delete(self._names.changes, self._names.epoch)
        return True

    def _follow(self, client: BlockingRedis) -> bool:
        with client.pipeline(transaction=True) as pipe:
            pipe.get(self._names.epoch)
            pipe.xrange(self._names.changes, count=1)
            pipe.xread({self._names.changes: self._position or _START}, count=_CHUNK)
            epoch, oldest, news = pipe.execute()
        trimmed = bool(oldest) and _order(oldest[0][0]) > _order(self._position or _START)
        if self._position is None or epoch != self._epoch or trimmed:
            return self._begin(client)
        changes = news[0][1] if news else []
        self._apply(client, changes)
        if len(changes) < _CHUNK:
            self._vectors.expire()
        return len(changes) == _CHUNK

    def _begin(self, client: BlockingRedis) -> bool:
        """Load everything: first note where the stream is, so that no change is missed meanwhile."""
        with suppress(ReadOnlyError, OutOfMemoryError):
            if client.set(self._names.epoch, os.urandom(8).hex(), nx=True):
                client.xadd(self._names.changes, {BEGAN: b""})
        epoch: Any = client.get(self._names.epoch)
        latest: Any = client.xrevrange(self._names.changes, count=1)
        if self._epoch != epoch:
            self._vectors.clear()
        self._epoch, self._position, self._cursor = epoch, latest[0][0] if latest else _START, 0
        self.rebuilds += 1
        return True

    def _load_page(self, client: BlockingRedis) -> bool:
        found: Any = client.scan(self._cursor or 0, match=self._names.prefix + "*", count=_CHUNK)
        cursor, keys = found
        labels = {label for label in map(self._names.label, keys) if label is not None}
        self._take(client, list(labels))
        self._cursor = int(cursor) or None
        self.loaded = self.loaded or self._cursor is None
        return True

    def _apply(self, client: BlockingRedis, changes: list[Any]) -> None:
        """Take in additions and removals, the later of two about the same label."""
        latest: dict[int, bool] = {}
        for position, fields in changes:
            for word, raw in (fields or {}).items():
                known = word in {ADDED, REMOVED} and len(raw) % 8 == 0
                self.damaged += not known and word != BEGAN
                latest.update(dict.fromkeys(unpack_labels(raw) if known else (), word == ADDED))
            self._position = position
        self._vectors.remove(label for label, added in latest.items() if not added)
        added = [label for label, added in latest.items() if added]
        for start in range(0, len(added), _CHUNK):
            self._take(client, added[start : start + _CHUNK])

    def _take(self, client: BlockingRedis, labels: list[int]) -> None:
        """Add the vectors of entries that are there and sound."""
        with client.pipeline(transaction=False) as pipe:
            for label in labels:
                ask(pipe, "HMGET", self._names.key(label), "partition", "expires_at", "vector")
            answers = pipe.execute(raise_on_error=False)
        read = [(label, *answer) for label, answer in zip(labels, answers, strict=True) if _is_hash(answer)]
        self.damaged += sum(isinstance(answer, ResponseError) for answer in answers)  # a key of another kind
        vectors, sound = unpack_vectors([row[3] for row in read], self._dimension, "<f4")
        places = [_read_place(row[1], row[2]) for row in read]
        sound &= np.array([place is not None for place in places], bool)
        self.damaged += len(read) - int(sound.sum())
        kept = [(row[0], *place) for row, place in compress(zip(read, places, strict=True), sound) if place]
        numbers = np.array([(label, expires_at) for label, _, expires_at in kept], np.int64).reshape(-1, 2)
        self._vectors.add(Batch(numbers[:, 0], [partition for _, partition, _ in kept], numbers[:, 1], vectors[sound]))

    async def _read(self, redis: Redis, labels: list[int]) -> dict[int, SemanticEntry]:
        """The entries that are there, whole, and where they belong."""
        async with redis.pipeline(transaction=False) as pipe:
            for label in labels:
                ask(pipe, "HGET", self._names.key(label), "entry")
            answers = await pipe.execute(raise_on_error=False)
        unpacked = {label: unpack_entry(raw) for label, raw in zip(labels, answers, strict=True) if raw is not None}
        found = {label: entry for label, entry in unpacked.items() if entry and label_of(entry.id) == label}
        self.damaged += len(unpacked) - len(found)
        return found


def _is_hash(answer: Any) -> bool:
    """Whether an answer is about a hash that exists."""
    return isinstance(answer, list) and any(value is not None for value in answer)


def _read_place(partition: Any, expires_at: Any) -> tuple[bytes, int] | None:
    try:
        place = bytes.fromhex(partition.decode()), int(expires_at)
    except (ValueError, AttributeError, TypeError):
        return None
    return place if len(place[0]) == 16 and 0 <= place[1] < 2**62 else None


def _order(position: bytes) -> tuple[int, int]:
    """Positions in a stream, comparable."""
    time_ms, _, number = position.partition(b"-")
    return int(time_ms), int(number)

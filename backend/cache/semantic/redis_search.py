"""A Redis with the query engine (Redis 8, Redis Stack, Valkey Search) searches by itself: workers keep nothing."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from redis import Redis as BlockingRedis
from redis.exceptions import ResponseError

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.index import Found, rank
from backend.cache.semantic.packing import unpack_entry
from backend.cache.semantic.redis_link import Link, Names, ask, label_of

_UNKNOWN_INDEX = ("no such index", "unknown index", "not found")
"""How servers say that an index is not there, in their several versions."""


class QueryEngine:
    """``FT.CREATE`` once, ``FT.SEARCH`` per look-up; the index follows the hashes, and their expiry, by itself."""

    mode = "redis query engine"

    def __init__(self, link: Link, names: Names, dimension: int, algorithm: Literal["HNSW", "FLAT"] = "HNSW") -> None:
        self._link = link
        self._names = names
        self._dimension = dimension
        self._algorithm = algorithm
        self._missing = threading.Event()
        self.loaded = True
        self.damaged = 0

    def create(self, client: BlockingRedis, there: Collection[bytes] = ()) -> None:
        """Create the index unless it is there; raises ``RedisError``."""
        if self._names.index.encode() in there:
            return
        self._missing.set()
        vector = ("TYPE", "FLOAT32", "DIM", self._dimension, "DISTANCE_METRIC", "COSINE")
        fields = ("partition", "TAG", "tenant", "TAG", "vector", "VECTOR", self._algorithm, len(vector), *vector)
        scope = ("ON", "HASH", "PREFIX", 1, self._names.prefix)
        try:
            ask(client, "FT.CREATE", self._names.index, *scope, "SCHEMA", *fields)
        except ResponseError as error:
            if "already exists" not in str(error):
                raise
        self._missing.clear()

    def step(self, client: BlockingRedis) -> bool:
        """Create the index anew where a look-up found it gone, as after a flush."""
        if self._missing.is_set():
            self.create(client)
        return False

    def hide(self, labels: Iterable[int]) -> None:
        """Nothing to do: what is deleted is not found."""

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> Found:
        """The nearest within a partition, compared once more here; raises ``StoreUnavailable``."""
        query = f"(@partition:{{{partition.hex()}}})=>[KNN {count} @vector $v AS score]"
        given = ("PARAMS", 2, "v", vector.astype("<f4").tobytes(), "RETURN", 1, "entry", "LIMIT", 0, count)
        async with self._link.attempt() as redis:
            try:
                answer = await ask(redis, "FT.SEARCH", self._names.index, query, *given, "DIALECT", 2)
            except ResponseError as error:
                if not any(words in str(error).lower() for words in _UNKNOWN_INDEX):
                    raise
                self._missing.set()
                return []
        return self._read(answer, partition, vector)

    def _read(self, answer: Any, partition: bytes, vector: Vector) -> Found:
        """The entries in an answer: a count, then key and fields in turn; no fields where one has just expired."""
        if not isinstance(answer, list) or len(answer) % 2 != 1:
            raise StoreUnavailable("redis: answer not understood")
        pairs = [(key, fields) for key, fields in zip(answer[1::2], answer[2::2], strict=True) if fields is not None]
        entries = [unpack_entry(_fields(fields).get(b"entry")) for _, fields in pairs]
        sound = [e for e, (key, _) in zip(entries, pairs, strict=True) if e and key == self._key(e.id)]
        self.damaged += len(pairs) - len(sound)
        return rank(sound, partition, vector)

    def _key(self, call_id: str) -> bytes:
        return self._names.key(label_of(call_id)).encode()


def _fields(fields: Any) -> Mapping[Any, Any]:
    """Names and values in turn, as a mapping; empty for anything else."""
    if not isinstance(fields, list) or len(fields) % 2:
        return {}
    return {name: value for name, value in zip(fields[::2], fields[1::2], strict=True) if isinstance(name, bytes)}

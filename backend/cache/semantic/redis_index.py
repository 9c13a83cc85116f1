"""Entries in Redis, shared by all workers; the server is asked whether it can search by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from redis import Redis as BlockingRedis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.follower import Follower
from backend.cache.semantic.index import Found, SemanticEntry, namespace_of
from backend.cache.semantic.redis_link import Link, Names, ask, connect_blocking, label_of
from backend.cache.semantic.redis_own import OwnIndex
from backend.cache.semantic.redis_search import QueryEngine
from backend.cache.semantic.redis_writer import RedisWriter

_POLL_S = 0.25


class RedisIndex:
    """Look-ups on the event loop, writing behind the answers, following in a thread; each wait is bounded."""

    def __init__(self, url: str, embedder: str, dimension: int, most_entries: int = 100_000) -> None:
        self._dimension = dimension
        self._most = most_entries
        self._names = Names(namespace_of(embedder, dimension))
        self._link = Link(url)
        self._client = connect_blocking(url)
        self._searching: QueryEngine | OwnIndex | None = None
        self._writer = RedisWriter(self._link, self._names, self._wake)
        self._follower = Follower(self._step, _POLL_S)
        self._unfit = 0

    @property
    def mode(self) -> str:
        """Who searches: the server, or each worker by itself."""
        return "redis, not reached yet" if self._searching is None else self._searching.mode

    @property
    def loaded(self) -> bool:
        """Whether everything that was there at the start can be found."""
        return self._searching is not None and self._searching.loaded

    @property
    def breaker(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return self._link.breaker.state

    @property
    def dropped(self) -> int:
        """Entries and removals that never reached Redis."""
        return self._writer.dropped + self._unfit

    @property
    def damaged(self) -> int:
        """Values met that Governor did not write like this."""
        return 0 if self._searching is None else self._searching.damaged

    @property
    def timeout_ms(self) -> float:
        """How long a look-up waits for Redis."""
        return self._link.timeout_ms

    @timeout_ms.setter
    def timeout_ms(self, value: float) -> None:
        self._link.timeout_ms = value

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> Found:
        """At most ``count`` live entries of this partition, nearest first; raises ``StoreUnavailable``."""
        if self._searching is None:
            raise StoreUnavailable("redis: not reached yet")
        if vector.shape != (self._dimension,):
            raise StoreUnavailable("semantic index: a vector of another dimension")
        found = await self._searching.nearest(partition, vector, count)
        return [(entry, cosine) for entry, cosine in found if entry.id not in self._writer.removing]

    def add(self, entry: SemanticEntry) -> None:
        """Keep an entry; dropped, and counted, when Redis is away, too far behind or the vector does not fit."""
        if entry.embedding.vector.shape != (self._dimension,):
            self._unfit += 1
            return
        self._writer.add(entry)

    def remove(self, ids: Collection[str]) -> None:
        """Forget entries: not found by this worker from now on, nor by any other once it is written."""
        if self._searching is not None:
            self._searching.hide(map(label_of, ids))
        self._writer.remove(ids)

    async def close(self) -> None:
        """Finish what is being written, at most a second, end the thread and disconnect."""
        await self._writer.close()
        await asyncio.to_thread(self._follower.stop)
        self._client.close()
        await self._link.redis.aclose()

    def _wake(self) -> None:
        self._follower.wake()

    def _step(self) -> bool:
        if self._searching is None:
            self._searching = self._choose(self._client)
            self._writer.announces = isinstance(self._searching, OwnIndex)
        return self._searching.step(self._client)

    def _choose(self, client: BlockingRedis) -> QueryEngine | OwnIndex:
        """Ask for the list of search indexes: a server that does not know the question, or ours, is a plain one."""
        engine = QueryEngine(self._link, self._names, self._dimension)
        try:
            engine.create(client, ask(client, "FT._LIST"))
        except (ReadOnlyError, OutOfMemoryError):
            return engine
        except ResponseError:
            return OwnIndex(self._link, self._names, self._dimension, self._most)
        return engine

"""Entries in Redis, shared by every worker: bounded waits, a breaker, and no trust in what is read back."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Literal

import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from backend.cache.exact import StoreUnavailable
from backend.call import StoredAnswer

if TYPE_CHECKING:
    from backend.answer import Recipe

PREFIX = b"governor:exact:"
HITS = b"governor:hits:"
RECIPES = b"governor:recipe:"
DUE = b"governor:prefetch:due"
"""Keys of the entries with a recipe, by the time at which they expire."""
_FAILURES_TO_OPEN = 3
_OPEN_S = 1.0
_MOST_WRITES = 1000
_MOST_CONNECTIONS = 64
_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
"""What may go out in a header."""
_FIELDS = set(StoredAnswer._fields) - {"recipe"}


class Breaker:
    """Open after failures in a row: callers stop asking for a second, then one tries again."""

    def __init__(self) -> None:
        self.failures = 0
        self._closed_at = 0.0

    @property
    def open(self) -> bool:
        """Whether Redis is left alone for now."""
        return time.monotonic() < self._closed_at

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """For people, and for who lets only one try while it is half-open."""
        if self.open:
            return "open"
        return "half-open" if self.failures >= _FAILURES_TO_OPEN else "closed"

    def succeeded(self) -> None:
        """Redis answered."""
        self.failures = 0

    def failed(self) -> None:
        """Redis did not answer."""
        self.failures += 1
        if self.failures >= _FAILURES_TO_OPEN:
            self._closed_at = time.monotonic() + _OPEN_S


class RedisStore:
    """``GET`` before a call, ``SET … PX`` behind the answer."""

    def __init__(self, url: str) -> None:
        waits: dict[str, Any] = {"timeout": 1.0, "socket_connect_timeout": 1.0, "socket_timeout": 1.0}
        self._redis = Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=_MOST_CONNECTIONS, **waits))
        self.breaker = Breaker()
        self._writes: set[asyncio.Task[None]] = set()
        self.dropped = 0

    async def find(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        """The live entry under a key; raises ``StoreUnavailable`` within ``timeout_ms``."""
        stored = await self.peek(key, timeout_ms)
        if stored is not None:
            self._spawn(self._count_hit(stored))
        return stored

    async def peek(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        """The same, and no hit."""
        if self.breaker.open:
            raise StoreUnavailable("redis: breaker open")
        try:
            async with asyncio.timeout(timeout_ms / 1000.0):
                raw: bytes | None = await self._redis.get(PREFIX + key)  # type: ignore[assignment]
        except (RedisError, OSError, TimeoutError) as error:
            self.breaker.failed()
            raise StoreUnavailable(f"redis: {type(error).__name__}") from None
        self.breaker.succeeded()
        return read_stored(raw, key) if raw else None

    def put(self, stored: StoredAnswer, max_bytes: int) -> None:  # noqa: ARG002 - Redis has its own maxmemory
        """Keep an entry behind the answer; dropped, and counted, when Redis is away or too far behind."""
        if self.breaker.open or len(self._writes) >= _MOST_WRITES:
            self.dropped += 1
            return
        self._spawn(self._set(stored))

    def describe(self) -> dict[str, Any]:
        """How it is, for people."""
        return {"dropped": self.dropped, "breaker": self.breaker.state}

    async def close(self) -> None:
        """Finish what is being written, at most a second, and disconnect."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=1.0)
        await self._redis.aclose()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _set(self, stored: StoredAnswer) -> None:
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(PREFIX + stored.key, write_stored(stored), px=stored.expires_at - stored.stored_at)
                pipe.delete(HITS + stored.key, RECIPES + stored.key)
                if stored.recipe is not None:
                    pipe.hset(RECIPES + stored.key, mapping=write_recipe(stored, stored.recipe))
                    pipe.pexpireat(RECIPES + stored.key, stored.expires_at)
                    pipe.zadd(DUE, {stored.key: stored.expires_at})
                await pipe.execute()
        except (RedisError, OSError):
            self.breaker.failed()
            self.dropped += 1

    async def _count_hit(self, stored: StoredAnswer) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.incr(HITS + stored.key)
                pipe.pexpireat(HITS + stored.key, stored.expires_at)
                await pipe.execute()
        except (RedisError, OSError):
            self.breaker.failed()


def write_stored(stored: StoredAnswer) -> bytes:
    """The entry as JSON; its key is hexadecimal, its body text."""
    document = {name: getattr(stored, name) for name in _FIELDS}
    return orjson.dumps(document | {"key": stored.key.hex(), "body": stored.body.decode()})


def write_recipe(stored: StoredAnswer, recipe: Recipe) -> dict[Any, Any]:
    """What prefetch needs to know of an entry, and the request apart from it: it can be long."""
    of_entry = {name: getattr(stored, name) for name in ("tenant", "model", "stored_at", "expires_at", "cost_nusd")}
    of_recipe = {name: getattr(recipe, name) for name in ("endpoint", "namespace", "latency_ms")}
    return {"due": orjson.dumps(of_entry | of_recipe), "request": recipe.request}


def read_stored(raw: bytes, key: bytes) -> StoredAnswer | None:
    """An entry read back, or None when anything about it is not as written (FAILURES F09: nothing is unpickled)."""
    try:
        document = orjson.loads(raw)
        if not isinstance(document, dict) or document.keys() != _FIELDS or document["key"] != key.hex():
            return None
        body = document["body"].encode()
        numbers = [document["stored_at"], document["expires_at"], document["cost_nusd"] or 0]
        texts = [document["tenant"], document["model"], document["call_id"]]
        names = [document["call_id"], document["deployment"] or "-", document["provider"] or "-"]
        sound = all(map(_NAME.fullmatch, names)) and all(isinstance(text, str) for text in texts)
    except (ValueError, TypeError, AttributeError):
        return None
    if not sound or not all(type(number) is int and number >= 0 for number in numbers):
        return None
    return StoredAnswer(**(document | {"key": key, "body": body}))

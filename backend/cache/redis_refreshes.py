"""Prefetch over entries in Redis: recipes beside the entries, in the order in which these expire.

The day's spending lies there too; a Redis that forgets it has forgotten the recipes as well.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.cache.exact import StoreUnavailable
from backend.cache.prefetch import CLAIM_MS, ENDPOINTS, MOST_LISTED, Due
from backend.cache.redis_store import DUE, HITS, RECIPES

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLAIMS = b"governor:prefetch:claim:"
_SPENT = b"governor:prefetch:spent:"
_MOST_LOOKED_AT = 5000
_KEPT_S = 3 * 86_400
_TYPES = {
    "tenant": str,
    "model": str,
    "stored_at": int,
    "expires_at": int,
    "cost_nusd": int,
    "endpoint": str,
    "namespace": str,
    "latency_ms": float,
}


class RedisRefreshes:
    """The entries and the day's spending that all workers of all machines share; a connection of its own."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)

    async def list_due(self, now_ms: int, before_ms: int) -> list[Due]:
        """Unclaimed entries with a recipe and with hits that expire before a time, those with most hits first."""
        with _asking():
            await self._redis.zremrangebyscore(DUE, "-inf", now_ms)
            keys: Any = await self._redis.zrangebyscore(DUE, now_ms, before_ms, 0, _MOST_LOOKED_AT)
            counts = await self._redis.mget([HITS + key for key in keys]) if keys else []
            hits = {key: int(count) for key, count in zip(keys, counts, strict=True) if count and count.isdigit()}
            best = sorted(hits, key=lambda key: -hits[key])[:MOST_LISTED]
            found = await self._read(best, hits)
            claims = await self._redis.mget([_claim_of(due) for due in found]) if found else []
        return [due for due, claim in zip(found, claims, strict=True) if claim is None]

    async def claim(self, due: Due, now_ms: int) -> bytes | None:  # noqa: ARG002 - Redis has the time
        """The request, for the one worker that may ask it now."""
        with _asking():
            if not await self._redis.set(_claim_of(due), b"1", nx=True, px=CLAIM_MS):
                return None
            found: Any = await self._redis.hmget(RECIPES + due.key, ["due", "request"])
        description, request = found
        return request if description and read_due(description, due.key, due.hits) == due else None

    async def reserve(self, day: int, amount_nusd: int, limit_nusd: int) -> bool:
        """Count an amount as spent, unless the day's sum would exceed the limit; may refuse early, never late."""
        name = _SPENT + str(day).encode()
        with _asking():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.incrby(name, amount_nusd)
                pipe.expire(name, _KEPT_S)
                spent_nusd = (await pipe.execute())[0]
            if spent_nusd > limit_nusd:
                await self._redis.decrby(name, amount_nusd)
        return bool(spent_nusd <= limit_nusd)

    async def settle(self, day: int, difference_nusd: int) -> None:
        """Correct the day's sum."""
        with _asking():
            await self._redis.incrby(_SPENT + str(day).encode(), difference_nusd)

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def _read(self, keys: list[bytes], hits: dict[bytes, int]) -> list[Due]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(RECIPES + key, "due")
            raws = await pipe.execute(raise_on_error=False)
        read = [read_due(raw, key, hits[key]) for key, raw in zip(keys, raws, strict=True) if isinstance(raw, bytes)]
        return [due for due in read if due is not None]


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"redis: {type(error).__name__}") from None


def _claim_of(due: Due) -> bytes:
    """An entry that was stored anew is another one to claim."""
    return _CLAIMS + due.key + b":" + str(due.stored_at).encode()


def read_due(raw: bytes, key: bytes, hits: int) -> Due | None:
    """An entry as ``write_due`` described it, or None when anything about it is not as written."""
    try:
        document: Any = orjson.loads(raw)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.keys() != _TYPES.keys():
        return None
    sound = all(type(document[name]) is kind for name, kind in _TYPES.items()) and document["endpoint"] in ENDPOINTS
    if not sound or min(document[name] for name, kind in _TYPES.items() if kind is not str) < 0:
        return None
    return Due(key=key, hits=hits, **document)

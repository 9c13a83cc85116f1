"""What every use of Redis by the semantic cache shares: names of keys, bounded waits, a breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from backend.cache.exact import StoreUnavailable
from backend.cache.redis_store import Breaker

_MOST_CONNECTIONS = 32
_WAITS: dict[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "protocol": 2}


@dataclass(slots=True, frozen=True)
class Names:
    """The keys of one namespace. Labels are 64-bit numbers made of call ids: a key is found without a table."""

    namespace: str

    @property
    def index(self) -> str:
        """The query engine's index."""
        return f"governor:semantic:{self.namespace}"

    @property
    def prefix(self) -> str:
        """What the keys of all entries begin with."""
        return f"{self.index}:entry:"

    @property
    def changes(self) -> str:
        """The stream of additions and removals."""
        return f"{self.index}:changes"

    @property
    def epoch(self) -> str:
        """A value that lives as long as the entries: gone or changed, the server was flushed."""
        return f"{self.index}:epoch"

    def key(self, label: int) -> str:
        """The key of an entry."""
        return self.prefix + pack_labels([label]).hex()

    def label(self, key: bytes) -> int | None:
        """The label in the key of an entry, where it is one."""
        try:
            raw = bytes.fromhex(key.decode().removeprefix(self.prefix))
        except ValueError:
            return None
        return unpack_labels(raw)[0] if len(raw) == 8 else None


def label_of(call_id: str) -> int:
    """The label of an entry: two entries that share one by chance replace each other, and nothing worse."""
    return unpack_labels(blake2b(call_id.encode(), digest_size=8).digest())[0]


def pack_labels(labels: list[int]) -> bytes:
    """Eight bytes each."""
    return b"".join(label.to_bytes(8, "big", signed=True) for label in labels)


def unpack_labels(raw: bytes) -> list[int]:
    """The labels in bytes; a remainder is ignored."""
    return [int.from_bytes(raw[at : at + 8], "big", signed=True) for at in range(0, len(raw) - 7, 8)]


class Link:
    """Connections for the event loop; a look-up waits ``timeout_ms`` in all, not at all while the breaker is open."""

    def __init__(self, url: str, timeout_ms: float = 50.0) -> None:
        pool = BlockingConnectionPool.from_url(url, max_connections=_MOST_CONNECTIONS, timeout=1.0, **_WAITS)
        self.redis: Redis = Redis.from_pool(pool)
        self.breaker = Breaker()
        self.timeout_ms = timeout_ms
        self._probing = False

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[Redis]:
        """Ask within the time allowed, one at a time while the breaker is half-open; raises ``StoreUnavailable``."""
        state = self.breaker.state
        if state == "open" or (state == "half-open" and self._probing):
            raise StoreUnavailable(f"redis: breaker {state}")
        self._probing = state == "half-open"
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout_ms / 1000.0):
                yield self.redis
        except (RedisError, OSError, TimeoutError) as error:
            self.breaker.failed()
            raise StoreUnavailable(f"redis: {type(error).__name__}") from None
        except asyncio.CancelledError:
            if (time.monotonic() - began) * 2000.0 > self.timeout_ms:  # whoever waits for us gave up first
                self.breaker.failed()
            raise
        finally:
            self._probing = False
        self.breaker.succeeded()


def connect_blocking(url: str) -> BlockingRedis:
    """A client for a thread: a failure is heard of at once, the thread tries again by itself."""
    return BlockingRedis.from_url(url, retry=Retry(NoBackoff(), 0), **_WAITS)


def ask(client: Any, *command: Any) -> Any:
    """Send a command that the client has no method for, and return the answer as it came; raises ``RedisError``."""
    return client.execute_command(*command)

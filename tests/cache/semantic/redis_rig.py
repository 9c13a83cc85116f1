"""A real Redis, and the index over it as one worker has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from backend.cache.semantic.redis_index import RedisIndex
from backend.cache.semantic.redis_writer import RedisWriter
from tests.cache.semantic.entries import DIMENSION, until

EMBEDDER = "test-embedder"
TIMEOUT_MS = 2000.0
"""Patient: a machine that runs the tests is busy."""


@asynccontextmanager
async def opened(url: str, embedder: str = EMBEDDER, most: int = 1000) -> AsyncIterator[Any]:
    """An index that has loaded what was there."""
    index = RedisIndex(url, embedder, DIMENSION, most)
    index.timeout_ms = TIMEOUT_MS
    await until(lambda: index.loaded)
    yield index
    await index.close()


async def settled(index: Any) -> None:
    """Everything that happens behind the answers has happened."""
    writer: RedisWriter = index._writer
    while writer._task is not None and not writer._task.done():
        await asyncio.wait([writer._task])

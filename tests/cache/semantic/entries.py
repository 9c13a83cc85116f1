"""Answered questions made up for the tests of every index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backend.cache.semantic.embedding import Embedding, Vector, identify
from backend.cache.semantic.index import SemanticEntry, SemanticIndex

DIMENSION = 16
PARTITION = b"p" * 16


def unit(*components: float, dimension: int = DIMENSION) -> Vector:
    """A vector of unit length that begins with these components."""
    vector = np.zeros(dimension, np.float32)
    vector[: len(components)] = components
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def scatter(number: int, dimension: int = DIMENSION) -> Vector:
    """A vector of unit length of its own for every number."""
    vector = np.random.default_rng(number).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def entry(
    number: int, vector: Vector | None = None, *, partition: bytes = PARTITION, lives_s: float = 60.0, tenant: str = "t"
) -> SemanticEntry:
    now_ms = time.time_ns() // 1_000_000
    question, meaning = f"question {number}?", scatter(number) if vector is None else vector
    tokens = np.stack([scatter(10_000 + number + row, len(meaning)) for row in range(3)])
    embedding = Embedding(meaning, tokens, ("question", str(number), "?"), identify(question))
    times = now_ms, now_ms + int(lives_s * 1000)
    return SemanticEntry(
        f"call-{number}", partition, tenant, "m", question, embedding, bytes([number % 256] * 16), *times
    )


async def ids(index: SemanticIndex, number: int, count: int = 1, partition: bytes = PARTITION) -> list[str]:
    """Ids of the entries nearest to the vector of a number."""
    return [found.id for found, _ in await index.nearest(partition, scatter(number), count)]


async def until(condition: Callable[[], Any], within_s: float = 10.0) -> None:
    """Wait for what happens in another thread or process."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - a thread sets no event of this loop
            await asyncio.sleep(0.005)


async def until_found(index: SemanticIndex, number: int, *, there: bool = True, within_s: float = 10.0) -> None:
    """Wait until an entry of the standard partition is found, or is not."""
    async with asyncio.timeout(within_s):
        while (f"call-{number}" in await ids(index, number)) is not there:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)

"""The index in a file as one worker has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from backend.cache.semantic.embedded_index import EmbeddedIndex
from tests.cache.semantic.entries import DIMENSION, until

EMBEDDER = "test-embedder"


@asynccontextmanager
async def opened(
    path: Path, embedder: str = EMBEDDER, dimension: int = DIMENSION, most: int = 1000
) -> AsyncIterator[Any]:
    """An index that has loaded what was there, as one worker has it."""
    index = EmbeddedIndex(path, embedder, dimension, most)
    await until(lambda: index.loaded)
    yield index
    await index.close()
    assert index._follower.last_failure is None

"""The built-in embedder of one worker and its micro-batcher: opened once, for the cache and for ``/v1/embeddings``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.embedding import Embedding
from backend.cache.semantic.minilm import BuiltIn, open_built_in


@dataclass(slots=True, frozen=True)
class Opened:
    """The embedder, and what gathers texts for it."""

    embedder: BuiltIn
    batcher: Batcher[Embedding]


class SharedBuiltIn:
    """Opens the embedder when it is first needed; nobody but its owner closes it."""

    def __init__(self, folder: Path, size: Callable[[], int], wait_ms: Callable[[], float]) -> None:
        self._folder = folder
        self._size = size
        self._wait_ms = wait_ms
        self._opened: Opened | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> Opened:
        """The embedder and its batcher; raises ``EmbedderUnavailable``."""
        async with self._opening:
            if self._opened is None:
                embedder = await open_built_in(self._folder)
                self._opened = Opened(embedder, Batcher(embedder.embed, self._size, self._wait_ms))
        return self._opened

    async def embed(self, texts: list[str]) -> tuple[list[list[float]], int]:
        """A vector for each text, and how many tokens they are together; raises ``EmbedderUnavailable``."""
        opened = await self.open()
        embeddings = await opened.batcher.embed(texts)
        tokens = await asyncio.to_thread(opened.embedder.count, texts)
        return [embedding.vector.tolist() for embedding in embeddings], tokens

    async def close(self) -> None:
        """Finish what is being embedded and let go of the model."""
        if self._opened is not None:
            await self._opened.batcher.close()
            await self._opened.embedder.close()

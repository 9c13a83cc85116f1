"""What the semantic layer is made of, and how it comes into being: in the background, when it is first asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.built_in import SharedBuiltIn
from backend.cache.semantic.embedded_index import EmbeddedIndex
from backend.cache.semantic.embedding import Embedder, Embedding, RemoteEmbedder, Vector, read_vectors
from backend.cache.semantic.features import space_of
from backend.cache.semantic.feed import Feed, Records
from backend.cache.semantic.gate import compare
from backend.cache.semantic.index import SemanticIndex
from backend.cache.semantic.redis_index import RedisIndex
from backend.cache.semantic.verifier import Verifier

if TYPE_CHECKING:
    from backend.settings.knobs import CacheSettings

log = logging.getLogger("governor.cache")

_RETRY_S = 30.0
_BUILT_IN = "built-in"


@dataclass(slots=True)
class Parts:
    """The semantic layer for one embedder."""

    embedder: Embedder
    batcher: Batcher[Embedding]
    index: SemanticIndex
    feed: Feed
    shared: bool = False
    """Whether embedder and batcher are others' too, who will close them."""

    @property
    def verifier(self) -> Verifier:
        """The one in use."""
        return self.feed.verifier

    @property
    def space(self) -> str:
        """What the features of this embedder's pairs mean."""
        return self.feed.space


@dataclass(slots=True, frozen=True)
class Makers:
    """Where the parts come from."""

    settings: Callable[[], CacheSettings]
    embed: Callable[[str, list[str]], Awaitable[dict[str, Any]]]
    """Asks a deployment for the vectors of texts; its answer as it stands."""
    records: Records
    built_in: SharedBuiltIn
    entries: Path
    redis_url: str | None


async def load_parts(name: str, makers: Makers) -> Parts:
    """Everything for one embedder; seconds at the very first start, when the built-in model is made."""
    embedder, batcher = await _open_embedder(name, makers)
    most = makers.settings().semantic_entries
    space = (embedder.name, embedder.dimension, most)
    index = RedisIndex(makers.redis_url, *space) if makers.redis_url else EmbeddedIndex(makers.entries, *space)
    verifier = await asyncio.to_thread(_open_verifier)
    feed = Feed(makers.records, verifier, space_of(embedder.name), makers.settings)
    await asyncio.to_thread(lambda: feed.add(feed.read()))
    return Parts(embedder, batcher, index, feed, shared=name == _BUILT_IN)


def _open_verifier() -> Verifier:
    """The verifier and, before it, the gate's tables: read here, or the first question would wait for them."""
    compare("How do I begin?", "Where do I begin?")
    return Verifier.default()


async def _open_embedder(name: str, makers: Makers) -> tuple[Embedder, Batcher[Embedding]]:
    if name == _BUILT_IN:
        opened = await makers.built_in.open()
        return opened.embedder, opened.batcher

    async def ask(texts: list[str]) -> list[Vector]:
        return read_vectors(await makers.embed(name, texts), len(texts))

    remote = await RemoteEmbedder.probe(name, ask)
    return remote, Batcher(remote.embed, lambda: makers.settings().batch_size, lambda: makers.settings().batch_wait_ms)


class Loader:
    """Loads the parts for the embedder that the settings name; the old ones serve nobody once another is named."""

    def __init__(self, load: Callable[[str], Awaitable[Parts]]) -> None:
        self._load = load
        self._parts: Parts | None = None
        self._wanted: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._retry_at = 0.0
        self.state = "semantic cache: off"
        """Why there are no parts, in words for people."""

    def parts(self, embedder: str) -> Parts | None:
        """The parts, once they are there; asking for them begins to load them."""
        if embedder == self._wanted and self._parts is not None:
            return self._parts
        due = embedder != self._wanted or time.monotonic() >= self._retry_at
        if due and (self._task is None or self._task.done()):
            self._wanted, old, self._parts = embedder, self._parts, None
            self.state = "semantic cache: starting"
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._replace(embedder, old))
        return None

    async def wait(self, within_s: float) -> Parts | None:
        """The parts that are being loaded, once they are there; None where they are not in time."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within_s)
        return self._parts

    def follow_labels(self) -> None:
        """Take in the labels that are new in the database; runs in a thread, and adds them on the event loop."""
        parts, loop = self._parts, self._loop
        if parts is not None and loop is not None:
            loop.call_soon_threadsafe(parts.feed.add, parts.feed.read())

    @property
    def loaded(self) -> Parts | None:
        """The parts as they are, without asking for any."""
        return self._parts

    async def close(self) -> None:
        """Let the parts go."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=5.0)
        if self._parts is not None:
            await _end(self._parts)

    async def _replace(self, embedder: str, old: Parts | None) -> None:
        self._retry_at = time.monotonic() + _RETRY_S
        try:
            if old is not None:
                await _end(old)
            self._parts = await self._load(embedder)
            self.state = "semantic cache: ready"
        except Exception as error:  # noqa: BLE001 - whatever it is, calls go on without it and it is tried again
            self.state = f"semantic cache: {error}"[:200]
            log.warning("the semantic cache cannot start with the embedder %s: %s", embedder, error)


async def _end(parts: Parts) -> None:
    if not parts.shared:
        await parts.batcher.close()
    await parts.index.close()

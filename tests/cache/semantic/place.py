"""A gateway with a semantic layer of fakes: vectors of words, entries in a list, the cosine for a verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.cache import SemanticCache
from backend.cache.semantic.embedding import EmbedderUnavailable, Embedding, Vector, identify
from backend.cache.semantic.feed import Feed
from backend.cache.semantic.index import Found, SemanticEntry, rank
from backend.cache.semantic.judge import Judge
from backend.cache.semantic.parts import Loader, Parts
from backend.cache.semantic.verification import Verification
from backend.gateway.own_calls import ask_judge
from backend.settings.knobs import Settings
from db.cache_labels import Label
from db.cache_verifiers import VerifierRow
from tests.fakes import Ending, Scene, run, scene, settings, whole

RESET, PARAPHRASE, OTHER = "how do I reset my password", "how can I reset my password", "where is your office"
MANUAL = {"semantic_enabled": True, "threshold_mode": "manual", "manual_threshold": 0.75, "verify_share": 1e-9}


@dataclass
class FakeEmbedder:
    """A vector per word, so that texts with many words in common are near each other."""

    name: str = "words"
    dimension: int = 64
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        if self.away:
            raise EmbedderUnavailable("embedder: away")
        self.asked += texts
        return [Embedding(self._vector(text), None, (), identify(text)) for text in texts]

    def _vector(self, text: str) -> Vector:
        vector = np.full(self.dimension, 1e-3, np.float32)
        for word in text.split():
            vector[int.from_bytes(identify(word), "big") % self.dimension] += 1.0
        return cast("Vector", vector / np.linalg.norm(vector))


@dataclass
class FakeIndex:
    """Entries in a list."""

    entries: list[SemanticEntry] = field(default_factory=list)
    away: bool = False
    mode: str = "list"
    timeout_ms: float = 0.0
    loaded: bool = True

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> Found:
        if self.away:
            raise StoreUnavailable("index: away")
        return rank(self.entries, partition, vector)[:count]

    def add(self, entry: SemanticEntry) -> None:
        self.entries.append(entry)

    def remove(self, ids: Collection[str]) -> None:
        self.entries = [entry for entry in self.entries if entry.id not in ids]

    async def close(self) -> None:
        """Nothing to let go."""


class FakeVerifier:
    """Believes the cosine, which is the first feature."""

    name = "cosine"
    fitted_until = 0

    def estimate(self, features: Any) -> float:
        return float(features[0])

    def compares(self, features: Any) -> bool:
        return float(features[0]) >= 0.05


@dataclass
class FakeRecords:
    """Labels and fits in lists."""

    labels: Sequence[Label] = ()
    fits: list[VerifierRow] = field(default_factory=list)

    def read_labels(self, since_ms: int) -> list[Label]:
        return [label for label in self.labels if label.stored_at >= since_ms]

    def read_verifiers(self, space: str) -> list[VerifierRow]:
        return [row for row in self.fits if row.space == space]

    def add_verifier(self, row: VerifierRow) -> None:
        self.fits.append(row)


@dataclass
class Place:
    """A gateway with a semantic layer of fakes."""

    scene: Scene
    embedder: FakeEmbedder
    index: FakeIndex
    labels: list[Label]
    semantic: SemanticCache

    async def ask(self, text: str, **body: Any) -> Ending:
        ending = await run(self.scene, messages=[{"role": "user", "content": text}], **body)
        await self.semantic._verification.close()
        return ending


async def open_place(*answers: str, labels: Sequence[Label] = (), **knobs: Any) -> Place:
    document: Settings = settings(cache={**MANUAL, **knobs})
    acted = scene(*([whole(text)] for text in answers or ("Use the link.",)), document=document)
    embedder, index, written = FakeEmbedder(), FakeIndex(), list[Label]()
    feed = Feed(FakeRecords(labels), cast("Any", FakeVerifier()), "words", lambda: document.cache)
    feed.add(feed.read())
    parts = Parts(embedder, Batcher(embedder.embed, lambda: 4, lambda: 0.0), index, feed)

    async def load(_name: str) -> Parts:
        return parts

    exact = acted.gateway.cache.exact
    judge = Judge(lambda name, body, tenant: ask_judge(acted.gateway, name, body, tenant))
    semantic = SemanticCache(Loader(load), exact, Verification(exact, written.append, judge))
    acted.gateway.cache.semantic = semantic
    semantic._loader.parts("built-in")
    await asyncio.sleep(0.01)
    return Place(acted, embedder, index, written, semantic)

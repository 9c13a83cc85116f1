"""Evidence: a fresh answer beside the one the semantic cache would have given, compared behind the caller's back.

A call that was a would-be hit and went upstream all the same has both answers; whether they say the same is a label.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backend.cache.exact import ExactCache, StoreUnavailable, read_answer
from backend.cache.semantic.agreement import Vectors, agree, text_of
from backend.cache.semantic.embedding import EmbedderUnavailable
from backend.cache.semantic.features import write_features
from backend.cache.semantic.judge import Dispute, Judge
from db.cache_labels import Label

if TYPE_CHECKING:
    from backend.cache.semantic.parts import Parts
    from backend.cache.semantic.weighing import Asked
    from backend.call import Entry, Match
    from backend.settings.knobs import CacheSettings

_MOST_UNDER_WAY = 64


@dataclass(slots=True, frozen=True)
class Fresh:
    """A call that was answered fresh: what it asked, what was nearly served, what it got, with which parts."""

    match: Match
    asked: Asked
    entry: Entry
    answer: dict[str, Any]
    parts: Parts


class Verification:
    """Compares answers in the background; ``dropped`` counts comparisons that there was no time or no judge for."""

    def __init__(self, exact: ExactCache, write: Callable[[Label], None], judge: Judge | None = None) -> None:
        self._exact = exact
        self._write = write
        self._under_way: set[asyncio.Task[None]] = set()
        self.judge = judge
        self.dropped = 0

    def begin(self, fresh: Fresh, settings: CacheSettings) -> None:
        """Compare this call's answer with its match's; returns at once."""
        if len(self._under_way) >= _MOST_UNDER_WAY or not self._has_room(settings):
            self.dropped += 1
            return
        comparing = asyncio.get_running_loop().create_task(self._compare(fresh, settings))
        self._under_way.add(comparing)
        comparing.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Let what is under way come to its end."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=2.0)

    def _has_room(self, settings: CacheSettings) -> bool:
        """Which pairs are compared must not depend on how hard they are: without a judge to ask none is."""
        return not settings.judge or self.judge is None or self.judge.has_room(settings)

    async def _compare(self, fresh: Fresh, settings: CacheSettings) -> None:
        try:
            stored = await self._exact.peek(fresh.match.source_key or b"", settings)
            cached = read_answer(stored, settings) if stored is not None else None
            if cached is None:
                return
            texts = [text_of(fresh.answer), text_of(cached)]
            vectors = None
            if all(texts):
                vectors = [embedding.vector for embedding in await fresh.parts.batcher.embed(texts)]
        except (StoreUnavailable, EmbedderUnavailable):
            self.dropped += 1
            return
        same, source = await self._settle(fresh, cached, vectors, settings)
        if same is not None:
            self._write(_label(fresh, source, same=same))

    async def _settle(
        self, fresh: Fresh, cached: dict[str, Any], vectors: Vectors | None, settings: CacheSettings
    ) -> tuple[bool | None, str]:
        """What rules say of both answers; where only embeddings could, the judge's word if there is one to ask."""
        found = agree(fresh.answer, cached, vectors, settings.agreement_cosine)
        dispute = Dispute(fresh.asked.question.text, fresh.answer, cached, str(fresh.entry.tenant))
        if found[1] != "embedding" or not settings.judge or self.judge is None or not dispute.may_be_shown():
            return found
        return await self.judge.compare(dispute, settings), "judge"


def _label(fresh: Fresh, source: str, *, same: bool) -> Label:
    match, parts, best = fresh.match, fresh.parts, fresh.asked.best
    return Label(
        id=fresh.entry.id,
        at=time.time_ns() // 1_000_000,
        tenant=str(fresh.entry.tenant),
        partition=match.partition,
        similarity=match.similarity or 0.0,
        probability=match.probability or 0.0,
        same=same,
        source=source,
        propensity=match.propensity,
        share=match.share,
        source_call_id=match.source_call_id,
        model=fresh.entry.model,
        verifier=parts.verifier.name,
        features=None if best is None or best.features is None else write_features(parts.space, best.features),
    )

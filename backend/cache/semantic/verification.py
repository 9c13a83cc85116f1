"""Evidence: a fresh answer beside the one the semantic cache would have given, compared behind the caller's back.

A call that was a would-be hit and went upstream all the same has both answers; whether they say the same is a label.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from backend.cache.exact import ExactCache, StoreUnavailable, read_answer
from backend.cache.semantic.agreement import agree, text_of
from backend.cache.semantic.embedding import EmbedderUnavailable
from db.cache_labels import Label

if TYPE_CHECKING:
    from backend.cache.semantic.parts import Parts
    from backend.call import Entry, Match
    from backend.settings.knobs import CacheSettings

_MOST_UNDER_WAY = 64


class Verification:
    """Compares answers in the background; ``dropped`` counts comparisons that there was no time for."""

    def __init__(self, exact: ExactCache, write: Callable[[Label], None]) -> None:
        self._exact = exact
        self._write = write
        self._under_way: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def begin(self, match: Match, entry: Entry, parts: Parts, settings: CacheSettings) -> None:
        """Compare this call's answer with its match's; returns at once."""
        fresh = entry.answer or (entry.fold.answer() if entry.fold else None)
        if fresh is None or len(self._under_way) >= _MOST_UNDER_WAY:
            self.dropped += fresh is not None
            return
        comparing = asyncio.get_running_loop().create_task(self._compare(match, (entry, fresh), parts, settings))
        self._under_way.add(comparing)
        comparing.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Let what is under way come to its end."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=2.0)

    async def _compare(
        self, match: Match, answered: tuple[Entry, dict[str, Any]], parts: Parts, settings: CacheSettings
    ) -> None:
        entry, fresh = answered
        try:
            stored = await self._exact.find(match.source_key or b"", settings)
            cached = read_answer(stored, settings) if stored is not None else None
            if cached is None:
                return
            texts = [text_of(fresh), text_of(cached)]
            vectors = None
            if all(texts):
                vectors = [embedding.vector for embedding in await parts.batcher.embed(texts)]
            same, source = agree(fresh, cached, vectors, settings.agreement_cosine)
        except (StoreUnavailable, EmbedderUnavailable):
            self.dropped += 1
            return
        if same is not None:
            self._write(_label(match, entry, source, same=same, verifier=parts.verifier.name))


def _label(match: Match, entry: Entry, source: str, *, same: bool, verifier: str) -> Label:
    return Label(
        id=entry.id,
        at=time.time_ns() // 1_000_000,
        tenant=str(entry.tenant),
        partition=match.partition,
        similarity=match.similarity or 0.0,
        probability=match.probability or 0.0,
        same=same,
        source=source,
        propensity=match.propensity,
        share=match.share,
        source_call_id=match.source_call_id,
        model=entry.model,
        verifier=verifier,
    )

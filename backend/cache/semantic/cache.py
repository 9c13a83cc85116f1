"""The semantic layer: a question asked before in other words gets the answer it got then, once evidence allows it.

Embed the question, find the nearest answered ones of the same partition, let the gate compare them word by word and the
verifier say how probably both deserve the same answer; the calibration says from which probability hits are served.
Whatever goes wrong, the call goes on without.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from backend.cache.exact import ExactCache, StoreUnavailable, is_fresh, read_answer
from backend.cache.semantic.embedding import EmbedderUnavailable
from backend.cache.semantic.index import SemanticEntry
from backend.cache.semantic.question import Question, Unsuited, read_question
from backend.cache.semantic.verification import Fresh
from backend.cache.semantic.weighing import Asked, Candidate, weigh_neighbours
from backend.call import CacheResult, Match

if TYPE_CHECKING:
    from backend.cache.semantic.parts import Loader, Parts
    from backend.cache.semantic.verification import Verification
    from backend.call import Call, Entry, StoredAnswer
    from backend.settings.knobs import CacheSettings


class SemanticCache:
    """The second layer of one worker; its parts are loaded in the background when it is first needed."""

    def __init__(self, loader: Loader, exact: ExactCache, verification: Verification) -> None:
        self._loader = loader
        self._exact = exact
        self._verification = verification
        self._random = random.Random()  # noqa: S311 - which hits are verified is no secret

    @property
    def state(self) -> str:
        """Whether its parts are there, in words for people."""
        return self._loader.state

    @property
    def loaded(self) -> Parts | None:
        """Its parts as they are."""
        return self._loader.loaded

    @property
    def verification(self) -> Verification:
        """Which comparisons it makes, and which it could not."""
        return self._verification

    async def load(self, settings: CacheSettings, within_s: float) -> Parts | None:
        """Its parts, waited for at most so long."""
        return self._loader.parts(settings.embedder) or await self._loader.wait(within_s)

    def begin(self, settings: CacheSettings) -> None:
        """Begin to load the parts, if they are not there yet."""
        self._loader.parts(settings.embedder)

    async def look_up(self, call: Call, tenant: str, exact: CacheResult, settings: CacheSettings) -> CacheResult:
        """A semantic hit, or the exact layer's miss with the nearest question; raises nothing."""
        parts = self._loader.parts(settings.embedder)
        if parts is None or exact.fingerprint is not None or exact.key is None:
            return exact if parts is not None else exact._replace(reason=self._loader.state)
        parts.index.timeout_ms = settings.store_timeout_ms
        try:
            question = read_question(call, tenant, settings)
            async with asyncio.timeout(settings.semantic_timeout_ms / 1000.0):
                match = await self._find(parts, question, settings)
                served = await self._serve(match, call, tenant, settings)
        except (Unsuited, EmbedderUnavailable, StoreUnavailable) as error:
            return exact._replace(reason=str(error))
        except TimeoutError:
            return exact._replace(reason="semantic cache: too slow")
        except Exception as fault:  # noqa: BLE001 - an optimisation may never fail a call
            return exact._replace(reason=f"semantic cache: {type(fault).__name__}")
        return served if served is not None else exact._replace(match=match, reason=match.reason)

    def keep(self, stored: StoredAnswer | None, found: CacheResult, entry: Entry, settings: CacheSettings) -> None:
        """Index the question of an answer that was kept, and compare that answer with the one nearly served."""
        match, parts = found.match, self._loader.parts(settings.embedder)
        if match is None or parts is None or not isinstance(match.asked, Asked):
            return
        answer = entry.answer or (entry.fold.answer() if entry.fold else None)
        if match.verify and answer is not None:
            self._verification.begin(Fresh(match, match.asked, entry, answer, parts), settings)
        if stored is not None:
            parts.index.add(_entry_of(stored, match.asked))

    async def close(self) -> None:
        """Finish the comparisons under way, then let the parts go."""
        await self._verification.close()
        await self._loader.close()

    async def _find(self, parts: Parts, question: Question, settings: CacheSettings) -> Match:
        partition = question.partition.hex()
        decision = parts.feed.calibration.decide(partition, settings)
        asked, embed_ms, candidates = await weigh_neighbours(parts, question, decision.serves)
        if not candidates:
            return Match(partition, asked, embed_ms, "no question near this one")
        best = candidates[0]
        propensity, share = decision.sampling(best.probability, settings.verify_share)
        worth = best.features is not None and parts.verifier.compares(best.features)
        verify = worth and self._random.random() < propensity
        return Match(
            partition=partition,
            asked=asked,
            embed_ms=embed_ms,
            reason=_explain(best, decision.reason),
            source_call_id=best.entry.id,
            source_key=best.entry.key,
            similarity=best.similarity,
            probability=best.probability,
            threshold=decision.threshold,
            verify=verify,
            propensity=propensity,
            share=share,
        )

    async def _serve(self, match: Match, call: Call, tenant: str, settings: CacheSettings) -> CacheResult | None:
        """The hit, when the evidence allows it, it was not drawn to be verified, and its answer is still there."""
        reached = match.threshold is not None and match.probability is not None and match.probability >= match.threshold
        if not reached or match.verify or match.source_key is None:
            return None
        found = await fetch(self._exact, match.source_key, call, tenant, settings)
        return None if found is None else CacheResult("semantic", None, found[0], answer=found[1], match=match)


async def fetch(
    exact: ExactCache, key: bytes, call: Call, tenant: str, settings: CacheSettings
) -> tuple[StoredAnswer, dict[str, Any]] | None:
    """The answer under a key, if it is there and may be served for this call; raises ``StoreUnavailable``."""
    stored = await exact.find(key, settings)
    if stored is None or not _may_have(stored, tenant, settings) or not is_fresh(stored, call, settings):
        return None
    answer = read_answer(stored, settings)
    return None if answer is None else (stored, answer)


def _explain(best: Candidate, reason: str) -> str:
    return f"gate: {'; '.join(best.findings)}" if best.findings else f"p {best.probability:.3f}; {reason}"


def _may_have(stored: StoredAnswer, tenant: str, settings: CacheSettings) -> bool:
    """Whether this answer is the tenant's own or of the pool it shares."""
    pool = settings.pool_of(tenant)
    return stored.tenant == tenant or (pool is not None and settings.pool_of(stored.tenant) == pool)


def _entry_of(stored: StoredAnswer, asked: Asked) -> SemanticEntry:
    return SemanticEntry(
        id=stored.call_id,
        partition=asked.question.partition,
        tenant=stored.tenant,
        model=stored.model,
        question=asked.question.text,
        embedding=asked.phrase.embedding,
        key=stored.key,
        stored_at=stored.stored_at,
        expires_at=stored.expires_at,
    )

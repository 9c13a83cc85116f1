"""The answered questions near the one asked, each with what speaks for and against it, the most probable first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.gate import compare
from backend.cache.semantic.index import SemanticEntry
from backend.cache.semantic.question import Question
from backend.cache.semantic.verifier import Phrase, measure

if TYPE_CHECKING:
    from backend.cache.semantic.parts import Parts

NEIGHBOURS = 3


@dataclass(slots=True, frozen=True)
class Candidate:
    """An answered question near the one asked, and what speaks for and against it."""

    entry: SemanticEntry
    similarity: float
    probability: float
    findings: tuple[str, ...]
    features: NDArray[np.float64] | None = None
    """What the verifier measured; None where the gate refused."""


@dataclass(slots=True, frozen=True)
class Asked:
    """What is needed to keep this question once it is answered, and the best candidate, if there was any."""

    question: Question
    phrase: Phrase
    best: Candidate | None = None


async def weigh_neighbours(
    parts: Parts, question: Question, suffices: Callable[[float], bool] = lambda _: False
) -> tuple[Asked, float, list[Candidate]]:
    """The question embedded, in how many milliseconds, and the answered ones near it, the most probable first.

    They are weighed nearest first, and no more of them once a probability ``suffices``. Raises ``EmbedderUnavailable``,
    ``StoreUnavailable``.
    """
    began = time.perf_counter()
    [embedding] = await parts.batcher.embed([question.text])
    embed_ms = (time.perf_counter() - began) * 1000.0
    phrase = Phrase(question.text, embedding)
    neighbours = await parts.index.nearest(question.partition, embedding.vector, NEIGHBOURS)
    candidates: list[Candidate] = []
    for entry, cosine in neighbours:
        candidates.append(_weigh(parts, phrase, entry, cosine))
        if suffices(candidates[-1].probability):
            break
    candidates.sort(key=lambda each: (-each.probability, -each.similarity))
    return Asked(question, phrase, candidates[0] if candidates else None), embed_ms, candidates


def _weigh(parts: Parts, asked: Phrase, entry: SemanticEntry, cosine: float) -> Candidate:
    verdict = compare(asked.text, entry.question)
    if not verdict.agrees:
        return Candidate(entry, cosine, 0.0, verdict.findings)
    features = measure(asked, Phrase(entry.question, entry.embedding), verdict)
    return Candidate(entry, cosine, parts.verifier.estimate(features), (), features)

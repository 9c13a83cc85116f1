"""The semantic layer as people see it: what a question would meet now, and why; nothing is served, counted or kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from backend.cache.exact import ExactCache, StoreUnavailable
from backend.cache.semantic.cache import fetch
from backend.cache.semantic.embedding import EmbedderUnavailable
from backend.cache.semantic.question import Unsuited, read_question
from backend.cache.semantic.refit import labels_for_next
from backend.cache.semantic.weighing import Candidate, weigh_neighbours

if TYPE_CHECKING:
    from backend.cache.semantic.cache import SemanticCache
    from backend.cache.semantic.calibration import Decision
    from backend.cache.semantic.parts import Parts
    from backend.call import Call
    from backend.settings.knobs import CacheSettings

_LOAD_WITHIN_S = 10.0


@dataclass(slots=True, frozen=True)
class Examiner:
    """One worker's semantic layer, under the settings of one moment."""

    semantic: SemanticCache
    settings: CacheSettings

    async def look_up(self, call: Call, tenant: str, exact: ExactCache) -> dict[str, Any]:
        """Partition, decision and the nearest questions with all verdicts on them, or the reason why there are none."""
        parts = await self.semantic.load(self.settings, _LOAD_WITHIN_S)
        if parts is None:
            return {"reason": self.semantic.state}
        try:
            question = read_question(call, tenant, self.settings)
            _, _, candidates = await weigh_neighbours(parts, question)
            decision = parts.feed.calibration.decide(question.partition.hex(), self.settings)
            fetched = [await fetch(exact, each.entry.key, call, tenant, self.settings) for each in candidates]
        except (Unsuited, EmbedderUnavailable, StoreUnavailable) as error:
            return {"reason": str(error)}
        nearest = [
            _describe(each, decision, still_there=answer is not None)
            for each, answer in zip(candidates, fetched, strict=True)
        ]
        return {"partition": question.partition.hex(), "decision": asdict(decision), "nearest": nearest}

    def describe(self, partitions: list[dict[str, Any]]) -> dict[str, Any]:
        """How the layer is; partitions, named by ``partition``, get the decision in force in each."""
        parts = self.semantic.loaded
        if parts is None:
            return {"state": self.semantic.state}
        decide = parts.feed.calibration.decide
        return {
            "state": self.semantic.state,
            **_describe_index(parts),
            "verifier": _describe_verifier(parts),
            "comparisons": _describe_comparisons(self.semantic, self.settings),
            "decision": asdict(decide("", self.settings)),
            "partitions": [each | asdict(decide(each["partition"], self.settings)) for each in partitions],
        }


def _describe_index(parts: Parts) -> dict[str, Any]:
    index = parts.index
    counted = {name: getattr(index, name, None) for name in ("damaged", "dropped", "breaker")}
    return {"mode": index.mode, "loaded": index.loaded, "embedder": parts.embedder.name, **counted}


def _describe_verifier(parts: Parts) -> dict[str, Any]:
    """Which one is in use, and what came of refitting it on labels."""
    feed = parts.feed
    last = None
    if feed.tried:
        shown = ("name", "replaces", "fitted_at", "labels", "held_out", "gain", "gain_low", "adopted")
        last = {name: getattr(feed.tried[-1], name) for name in shown}
    return {
        "name": feed.verifier.name,
        "waiting": feed.waiting.name if feed.waiting else None,
        "labels": feed.featured,
        "next_at": labels_for_next(feed.tried),
        "last": last,
    }


def _describe_comparisons(semantic: SemanticCache, settings: CacheSettings) -> dict[str, Any]:
    """How answers are compared, and how often that could not be done."""
    made, judge = semantic.verification, semantic.verification.judge
    return {"judge": settings.judge or None, "dropped": made.dropped, "judge_failed": judge.failed if judge else 0}


def _describe(candidate: Candidate, decision: Decision, *, still_there: bool) -> dict[str, Any]:
    entry, findings = candidate.entry, candidate.findings
    return {
        "call_id": entry.id,
        "question": entry.question,
        "similarity": candidate.similarity,
        "probability": candidate.probability,
        "gate": {"agrees": not findings, "findings": list(findings)},
        "stored_at": entry.stored_at,
        "expires_at": entry.expires_at,
        "would_serve": still_there and decision.serves(candidate.probability),
    }

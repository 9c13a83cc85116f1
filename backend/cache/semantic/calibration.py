"""The serving threshold: the lowest probability whose hits are, with confidence, wrong no more often than allowed.

On a fixed grid of thresholds the hits at or above each are tested for "wrong more often than the knob allows", by bets
that may be looked at any time (see ``confidence``). The tests run down the grid from a few starts and stop at the first
that does not pass: fixed-sequence testing with several starts, each at its share of α (Angelopoulos, Bates, Candès,
Jordan & Lei, "Learn then Test", 2021). Starts and partitions are chosen by counting labels, blind to what they say.

Evidence is pooled over partitions until one has ``OWN_LABELS`` and the others together as many; then it stands alone,
and both it and what remains of the pool are tested anew at smaller levels that sum to α. So with confidence 1 − α no
scope, at any time, serves a threshold whose hits are wrong too often, as long as the rate of errors at a given
probability is steady. Where it rises (see ``drift``), evidence starts anew and nothing is served until it suffices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import Literal, Protocol

import numpy as np

from backend.cache.semantic.confidence import log_evidence, upper_bound
from backend.cache.semantic.evidence import START_LABELS, THRESHOLDS, Evidence, stratum_of
from db.cache_labels import Label, rank_of

__all__ = ["Calibration", "Decision", "Label", "Rules"]

State = Literal["observe", "exact only", "serving"]

OWN_LABELS = 4_000
_MOST_KNOWN = 60_000
_FIRST_LEVEL = 0.8
"""Share of α for the pool before any partition leaves it; the rest is for all that come after."""


class Rules(Protocol):
    """The knobs that decide; ``CacheSettings`` has them."""

    @property
    def max_false_hit_rate(self) -> float: ...  # noqa: D102 - a knob describes itself
    @property
    def confidence(self) -> float: ...  # noqa: D102
    @property
    def min_labels(self) -> int: ...  # noqa: D102
    @property
    def threshold_mode(self) -> str: ...  # noqa: D102
    @property
    def manual_threshold(self) -> float: ...  # noqa: D102
    @property
    def verify_share(self) -> float: ...  # noqa: D102


@dataclass(slots=True, frozen=True)
class Decision:
    """What may be served in a partition and why; ``bound`` is the upper bound on the rate of false hits."""

    state: State
    threshold: float | None
    reason: str
    labels: int
    bound: float | None
    scope: Literal["pooled", "partition", "manual"]

    def serves(self, probability: float) -> bool:
        """Whether a candidate of this probability is a hit."""
        return self.threshold is not None and probability >= self.threshold

    def sampling(self, probability: float, verify_share: float) -> tuple[float, float]:
        """``propensity`` and ``share`` for a label: hits are verified in part, all other candidates always."""
        share = verify_share if self.state == "serving" else 1.0
        return (share if self.serves(probability) else 1.0), share


@dataclass(slots=True)
class _Scope:
    """Labels that are judged together, and the part of α for their tests."""

    name: Literal["pooled", "partition"]
    level: float
    evidence: Evidence
    decided: tuple[tuple[object, ...], Decision] | None = None


@dataclass(slots=True)
class _Known:
    """What one call's label says now."""

    partition: str
    stratum: int
    weight: float
    wrong: bool
    rank: int
    evidence: Evidence
    age: int
    """Which life of the evidence it was counted in."""


class Calibration:
    """All labels seen, counted as they come; the same labels in the same order give the same decisions everywhere."""

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self._pool = _Scope("pooled", _FIRST_LEVEL, Evidence())
        self._own: dict[str, _Scope] = {}
        self._known: dict[str, _Known] = {}
        self._pooled: Counter[str] = Counter()
        for label in labels:
            self.add(label)

    def add(self, label: Label) -> None:
        """Take in one label; the same again changes nothing, one of a higher source replaces the call's former.

        A candidate picked by hand (``propensity`` 0) counts only when it was wrong, because picking is no sampling.
        """
        known = self._known.get(label.id)
        if known is not None:
            self._revise(known, label)
        elif label.propensity > 0 or not label.same:
            self._count(label)

    def decide(self, partition: str, settings: Rules) -> Decision:
        """What may be served there now; computed when labels or knobs changed, else remembered."""
        scope = self._own.get(partition, self._pool)
        rules = (
            settings.max_false_hit_rate,
            settings.confidence,
            settings.min_labels,
            settings.threshold_mode,
            settings.manual_threshold,
            scope.evidence.version,
            scope.level,
        )
        if scope.decided is None or scope.decided[0] != rules:
            scope.decided = (rules, _decide(scope, settings))
        return scope.decided[1]

    def _count(self, label: Label) -> None:
        evidence = self._own.get(label.partition, self._pool).evidence
        share = label.propensity if label.share is None else label.share
        weight = round(min(1.0, share / label.propensity), 4) if label.propensity and share else 1.0
        stratum = stratum_of(label.probability)
        self._known[label.id] = _Known(
            label.partition, stratum, weight, not label.same, rank_of(label.source), evidence, evidence.age
        )
        take_in = evidence.add if label.propensity > 0 else evidence.count
        take_in(stratum, weight, wrong=not label.same)
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if evidence is self._pool.evidence:
            self._pooled[label.partition] += 1
            self._part_with(label.partition)

    def _revise(self, known: _Known, label: Label) -> None:
        rank = rank_of(label.source)
        if rank < known.rank or (rank == known.rank and label.source != "human"):
            return
        if known.wrong == label.same and known.age == known.evidence.age:
            known.evidence.move(known.stratum, known.weight, wrong=not label.same)
        known.rank, known.wrong = rank, not label.same

    def _part_with(self, partition: str) -> None:
        """Let a partition stand alone once it and the rest of the pool each have labels enough."""
        mine = self._pooled[partition]
        if mine < OWN_LABELS or self._pooled.total() - mine < OWN_LABELS:
            return
        del self._pooled[partition]
        number = len(self._own) + 1
        level = (1.0 - _FIRST_LEVEL) / 2 / (number * (number + 1))  # 1/2 + 1/6 + 1/12 + … = 1, twice
        kept, left = Evidence(), Evidence()
        for known in self._known.values():
            if known.evidence is self._pool.evidence and known.age == known.evidence.age:
                known.evidence = kept if known.partition == partition else left
                known.age = known.evidence.age
                known.evidence.count(known.stratum, known.weight, wrong=known.wrong)
        self._pool = _Scope("pooled", level, left)
        self._own[partition] = _Scope("partition", level, kept)


def _decide(scope: _Scope, settings: Rules) -> Decision:
    if settings.threshold_mode == "manual":
        return _manual(scope, settings)
    evidence, labels, starts = scope.evidence, scope.evidence.labels, scope.evidence.starts
    needed = max(settings.min_labels, START_LABELS)
    if labels < needed:
        since = " since answers began to differ more often" if evidence.age else ""
        return Decision("observe", None, f"{labels:,} of {needed:,} labels{since}", labels, None, scope.name)
    if not starts:
        reason = f"{labels:,} labels, hardly any from {_percent(THRESHOLDS[-1])} probability on: exact hits only"
        return Decision("exact only", None, reason, labels, None, scope.name)
    alpha = (1.0 - settings.confidence) * scope.level / len(starts)
    lowest = _lowest_passed(evidence, starts, settings.max_false_hit_rate, alpha)
    counts, allowed = evidence.counts(), _percent(settings.max_false_hit_rate)
    if lowest is None:
        bound = min(upper_bound(counts.column(start), alpha) for start in starts)
        reason = f"{labels:,} labels, upper bound {_percent(bound)} > {allowed}: exact hits only"
        return Decision("exact only", None, reason, labels, bound, scope.name)
    bound, threshold = upper_bound(counts.column(lowest), alpha), THRESHOLDS[lowest]
    reason = f"{labels:,} labels, upper bound {_percent(bound)} ≤ {allowed}: served from {threshold:.4f}"
    return Decision("serving", threshold, reason, labels, bound, scope.name)


def _lowest_passed(evidence: Evidence, starts: tuple[int, ...], rate: float, alpha: float) -> int | None:
    """The end of the longest unbroken run of passed tests from any start, but not below the lowest label in it."""
    counts = evidence.counts()
    passed = log_evidence(counts, rate) >= -log(alpha)
    ends = [start + int(np.argmin(np.append(passed[start:], False))) - 1 for start in starts if passed[start]]
    if not ends:
        return None
    labels = (counts.right + counts.wrong).sum(axis=0)
    return int(np.argmax(labels == labels[max(ends)]))


def _manual(scope: _Scope, settings: Rules) -> Decision:
    """The threshold a person set, with what the evidence says about it."""
    threshold, labels = settings.manual_threshold, scope.evidence.labels
    bound = None
    if labels:
        at = min(stratum_of(threshold), len(THRESHOLDS) - 1)
        bound = upper_bound(scope.evidence.counts().column(at), 1.0 - settings.confidence)
    known = "no evidence yet" if bound is None else f"{labels:,} labels, upper bound {_percent(bound)}"
    return Decision("serving", threshold, f"set by hand ({known})", labels, bound, "manual")


def _percent(share: float) -> str:
    """A share to two significant digits."""
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"

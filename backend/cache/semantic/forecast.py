"""What a threshold would do to recorded traffic, and how far the verifier's probabilities can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.cache.semantic.confidence import Counts, count, lower_bound, upper_bound
from db.cache_labels import Label, rank_of

_ALPHA = 0.05


@dataclass(slots=True, frozen=True)
class Recorded:
    """One recorded look-up: the best candidate's probability, and what the call upstream cost and took.

    None where there was no candidate, or where cost or latency is unknown.
    """

    probability: float | None
    cost_nusd: int | None
    latency_ms: float | None


@dataclass(slots=True, frozen=True)
class Prediction:
    """Hits as a share of all look-ups; false hits as a share of hits with a 95 % interval, None without labels."""

    hit_rate: float
    false_hit_rate: float | None
    low: float
    high: float
    saved_nusd: int
    saved_ms: float


@dataclass(slots=True, frozen=True)
class CurvePoint:
    """Labels of neighbouring probabilities: what the verifier said on average, and the share that was the same."""

    probability: float
    same: float
    low: float
    high: float
    labels: int


def resolve(labels: Iterable[Label]) -> list[Label]:
    """One label per call, the one of the highest source, as likely to have been picked as the first of the call.

    Those picked by hand alone are left out: they are no sample.
    """
    found: dict[str, Label] = {}
    for label in labels:
        known = found.get(label.id)
        if known is None:
            found[label.id] = label
        elif rank_of(label.source) >= rank_of(known.source):
            sampled = max(known, label, key=lambda each: each.propensity)
            found[label.id] = replace(label, propensity=sampled.propensity, share=sampled.share)
        elif not known.propensity:
            found[label.id] = replace(known, propensity=label.propensity, share=label.share)
    return [label for label in found.values() if label.propensity > 0]


def predict(labels: Iterable[Label], recorded: Sequence[Recorded], threshold: float) -> Prediction:
    """What serving from ``threshold`` on would have meant; money is the cost of the calls it would have spared.

    The rate of false hits weighs each label by 1/propensity within its time (Horvitz & Thompson), as the calibration
    does; the interval holds at any time.
    """
    hits = [each for each in recorded if each.probability is not None and each.probability >= threshold]
    evidence = [label for label in resolve(labels) if label.probability >= threshold]
    low, high = _interval(evidence)
    return Prediction(
        hit_rate=len(hits) / len(recorded) if recorded else 0.0,
        false_hit_rate=_weighted_rate(evidence),
        low=low,
        high=high,
        saved_nusd=sum(each.cost_nusd or 0 for each in hits),
        saved_ms=sum(each.latency_ms or 0.0 for each in hits),
    )


def calibration_curve(labels: Iterable[Label], points: int = 10) -> list[CurvePoint]:
    """Up to ``points`` groups of equally many labels, by rising probability, each with a 95 % interval."""
    ordered = sorted(resolve(labels), key=lambda label: label.probability)
    groups = np.array_split(np.arange(len(ordered)), min(points, len(ordered)) or 1)
    return [_point([ordered[index] for index in group]) for group in groups if len(group)]


def _point(labels: list[Label]) -> CurvePoint:
    right = sum(label.same for label in labels)
    counts = count(len(labels) - right, right)
    mean = sum(label.probability for label in labels) / len(labels)
    low, high = lower_bound(counts, _ALPHA / 2), upper_bound(counts, _ALPHA / 2)
    return CurvePoint(mean, right / len(labels), low, high, len(labels))


def weigh_labels(labels: Sequence[Label]) -> list[float]:
    """The calibration's own weights: how likely any would-be hit was picked then, against how likely this one was."""
    least = min((label.propensity for label in labels), default=1.0)
    shares = [least if label.share is None else label.share for label in labels]
    return [round(min(1.0, share / label.propensity), 4) for share, label in zip(shares, labels, strict=True)]


def _weighted_rate(labels: list[Label]) -> float | None:
    weights = weigh_labels(labels)
    wrong = sum(weight for weight, label in zip(weights, labels, strict=True) if not label.same)
    return wrong / sum(weights) if labels else None


def _interval(labels: list[Label]) -> tuple[float, float]:
    if not labels:
        return 0.0, 1.0
    weighed = list(zip(weigh_labels(labels), (label.same for label in labels), strict=True))
    weights = sorted({weight for weight, _ in weighed})
    tallies = [[[weighed.count((weight, same))] for weight in weights] for same in (True, False)]
    counts = Counts(np.array(weights), np.array(tallies[0]), np.array(tallies[1]))
    return lower_bound(counts, _ALPHA / 2), upper_bound(counts, _ALPHA / 2)

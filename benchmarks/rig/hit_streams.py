"""Simulated look-ups whose truth is known: what the calibration served of them, and what a fixed threshold would have.

Each look-up has a nearest entry that deserves the same answer or does not. Its cosine and the verifier's other features
are drawn so that both carry information about that; the probability is what a verifier makes of all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from backend.cache.semantic.calibration import Calibration, Label

BLOCK = 100
"""Look-ups between two looks at the decision: labels arrive behind the answers."""


@dataclass(slots=True, frozen=True)
class Knobs:
    """What the calibration asks of the settings."""

    max_false_hit_rate: float = 0.01
    confidence: float = 0.95
    min_labels: int = 200
    threshold_mode: str = "calibrated"
    manual_threshold: float = 0.97
    verify_share: float = 0.05


@dataclass(slots=True)
class Stream:
    """Look-ups in their order; ``same`` is the truth."""

    partition: np.ndarray
    cosine: np.ndarray
    probability: np.ndarray
    same: np.ndarray


@dataclass(slots=True)
class Outcome:
    """How a rule did on a stream: which look-ups it served, and how many of those were wrong."""

    lookups: int
    hits: int
    false_hits: int

    @property
    def hit_rate(self) -> float:
        """Hits as a share of all look-ups."""
        return self.hits / self.lookups

    @property
    def false_hit_rate(self) -> float:
        """Wrong ones as a share of hits."""
        return self.false_hits / self.hits if self.hits else 0.0


@dataclass(slots=True, frozen=True)
class Traffic:
    """What a stream is drawn from: prior log odds of "same" and how far the verifier's features tell, per look-up."""

    partition: np.ndarray
    prior: np.ndarray
    believed: np.ndarray | float
    """The prior log odds that the verifier was fitted with."""
    planted: np.ndarray | bool = False
    """Look-ups whose nearest entry was planted: wrong, though it looks right to everything but the truth."""


def _steady(random: np.random.Generator, lookups: int) -> Traffic:
    prior = random.uniform(0.0, 2.0)
    return Traffic(np.zeros(lookups, int), np.full(lookups, prior), prior)


def _mixed(random: np.random.Generator, lookups: int) -> Traffic:
    shares = random.dirichlet(np.full(6, 1.0))
    partition = random.choice(6, lookups, p=shares)
    priors = random.uniform(-1.5, 2.5, 6)
    return Traffic(partition, priors[partition], float(np.average(priors, weights=shares)))


def _drifting(random: np.random.Generator, lookups: int) -> Traffic:
    prior, fall = random.uniform(0.5, 2.0), random.uniform(0.7, 1.6)
    ramp = np.linspace(0.0, 1.0, lookups)
    return Traffic(np.zeros(lookups, int), prior - fall * ramp, prior)


def _jumping(random: np.random.Generator, lookups: int) -> Traffic:
    prior, fall, at = random.uniform(0.5, 2.0), random.uniform(0.7, 1.6), random.uniform(0.3, 0.8)
    after = np.arange(lookups) >= at * lookups
    return Traffic(np.zeros(lookups, int), prior - fall * after, prior)


def _attacked(random: np.random.Generator, lookups: int) -> Traffic:
    traffic, at = _steady(random, lookups), random.uniform(0.3, 0.8) * lookups
    planted = (np.arange(lookups) >= at) & (random.random(lookups) < random.uniform(0.02, 0.2))
    return replace(traffic, planted=planted)


ATTACK = "attacked"
"""Look-alikes planted from some moment on: nothing is promised there, but it must be noticed."""

Bend = Callable[[np.ndarray], np.ndarray]
KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Traffic], Bend]] = {
    "calibrated": (_steady, lambda logit: logit),
    "overconfident": (_steady, lambda logit: 1.8 * logit + 1.0),
    "underconfident": (_steady, lambda logit: 0.5 * logit - 1.0),
    "six partitions": (_mixed, lambda logit: logit),
    "drifting": (_drifting, lambda logit: logit),
    "jumping": (_jumping, lambda logit: logit),
    ATTACK: (_attacked, lambda logit: logit),
}
"""Kinds of traffic, and what the verifier makes of the true log odds."""


def draw(kind: str, random: np.random.Generator, lookups: int) -> Stream:
    """One stream of a kind."""
    make, bend = KINDS[kind]
    traffic = make(random, lookups)
    same = random.random(lookups) < 1.0 / (1.0 + np.exp(-traffic.prior))
    sides = np.where(same | traffic.planted, 0.5, -0.5)
    by_cosine, by_rest = random.uniform(1.5, 2.0), random.uniform(2.4, 3.0)
    cosine = _evidence(random, sides, by_cosine)
    logit = bend(traffic.believed + cosine + _evidence(random, sides, by_rest))
    return Stream(traffic.partition, cosine, 1.0 / (1.0 + np.exp(-logit)), same & ~np.asarray(traffic.planted))


def _evidence(random: np.random.Generator, sides: np.ndarray, distance: float) -> np.ndarray:
    """Log likelihood ratios of a feature whose two normal distributions lie ``distance`` deviations apart."""
    ratios: np.ndarray = distance * (sides * distance + random.standard_normal(len(sides)))
    return ratios


def serve(stream: Stream, knobs: Knobs, random: np.random.Generator) -> Outcome:
    """What the calibration serves of a stream while it learns from what it verifies."""
    calibration, lookups = Calibration(), len(stream.same)
    outcome = Outcome(lookups, 0, 0)
    for start in range(0, lookups, BLOCK):
        block = range(start, min(start + BLOCK, lookups))
        decisions = {
            each: calibration.decide(str(each), knobs) for each in set(stream.partition[block.start : block.stop])
        }
        for index in block:
            decision, probability = decisions[stream.partition[index]], float(stream.probability[index])
            propensity, share = decision.sampling(probability, knobs.verify_share)
            if random.random() < propensity:
                calibration.add(_label(stream, index, propensity, share))
            else:
                outcome.hits += 1
                outcome.false_hits += not stream.same[index]
    return outcome


def _label(stream: Stream, index: int, propensity: float, share: float) -> Label:
    return Label(
        id=str(index),
        at=index,
        tenant="t",
        partition=str(stream.partition[index]),
        similarity=float(stream.cosine[index]),
        probability=float(stream.probability[index]),
        same=bool(stream.same[index]),
        source="exact",
        propensity=propensity,
        share=share,
    )


def best_static(score: np.ndarray, same: np.ndarray, rate: float) -> float:
    """The lowest threshold on a score whose hits, in hindsight, were wrong no more often than ``rate``."""
    order = np.argsort(-score, kind="stable")
    wrong = np.cumsum(~same[order])
    fine = np.flatnonzero(wrong <= rate * np.arange(1, len(order) + 1))
    return float(score[order[fine[-1]]]) if len(fine) else float("inf")


def serve_static(score: np.ndarray, same: np.ndarray, threshold: float) -> Outcome:
    """What a fixed threshold serves."""
    hits = score >= threshold
    return Outcome(len(same), int(hits.sum()), int((hits & ~same).sum()))


def area_under_curve(score: np.ndarray, same: np.ndarray) -> float:
    """How well a score tells same from different: 1 always, 0.5 not at all."""
    ranks = np.empty(len(score))
    ranks[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    right, wrong = int(same.sum()), int((~same).sum())
    return float((ranks[same].sum() - right * (right + 1) / 2) / (right * wrong))

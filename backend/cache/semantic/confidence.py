"""Bounds on a rate of errors that hold at any time: one may look after every label and stop whenever one likes.

Each label is a bet against "the rate is at least m": a right one multiplies the stake by ``1 + f·w·m/(1−m)``, a wrong
one by ``1 − f·w``, with ``0 < f < 1``. Under that hypothesis no bet has a positive expectation, so the stake, averaged
over fixed fractions ``f``, is a non-negative supermartingale, and by Ville's inequality it ever reaches ``1/α`` with
probability at most α. Rates refuted at 1/α make the bound. Sources: Waudby-Smith & Ramdas, "Estimating means of
bounded random variables by betting" (JRSS-B 2024, hedged capital); the mixture over fixed bets is Robbins' (1970), for
binary labels a discrete beta-binomial mixture (Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 2021). It
depends on counts alone, not on the order of the labels.

``w`` in (0, 1] makes labels comparable that were picked with different probabilities: w = c/q, where q is the
probability with which this one was picked and c the smallest with which any could have been picked then, both known
before the answer is. In expectation over the picking every would-be hit then bets c·f, whatever its score, so the
stake remains a supermartingale for the average over all of them, not for the average over the picked (inverse
propensity weights, scaled to stay below 1 because a stake must not become negative).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGE = np.concatenate([np.linspace(0.05, 0.95, 19), [0.98, 0.995]])
_SMALL = np.geomspace(0.0005, 0.9, 24)
_HALVINGS = 40


@dataclass(slots=True, frozen=True)
class Counts:
    """How many labels were right and wrong: one row per weight, one column per question asked."""

    weights: np.ndarray
    right: np.ndarray
    wrong: np.ndarray

    def column(self, index: int) -> Counts:
        """The counts of one question."""
        return Counts(self.weights, self.right[:, [index]], self.wrong[:, [index]])

    def swapped(self) -> Counts:
        """The same with right for wrong."""
        return Counts(self.weights, self.wrong, self.right)


def count(right: int, wrong: int) -> Counts:
    """The counts of labels that all weigh the same."""
    return Counts(np.ones(1), np.array([[right]]), np.array([[wrong]]))


def log_evidence(counts: Counts, rate: float, fractions: np.ndarray = _LARGE) -> np.ndarray:
    """For each question the logarithm of the stake won against "at least this share is wrong"; 0 < rate < 1."""
    bets = np.multiply.outer(counts.weights, fractions)
    won, lost = np.log1p(bets * (rate / (1.0 - rate))), np.log1p(-bets)
    stakes = counts.right.T @ won + counts.wrong.T @ lost
    most = stakes.max(axis=1)
    mean: np.ndarray = most + np.log(np.exp(stakes - most[:, None]).mean(axis=1))
    return mean


def upper_bound(counts: Counts, alpha: float, fractions: np.ndarray = _LARGE) -> float:
    """The smallest rate refuted at level ``alpha`` for the one question counted; 1 where nothing is refuted."""
    needed, low, high = -np.log(alpha), 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if log_evidence(counts, middle, fractions)[0] >= needed:
            high = middle
        else:
            low = middle
    return high


def lower_bound(counts: Counts, alpha: float) -> float:
    """The largest rate of which less is refuted at level ``alpha``; 0 where nothing is refuted."""
    return 1.0 - upper_bound(counts.swapped(), alpha, _SMALL)

"""A logistic regression on steps: every feature adds a piecewise linear, monotone amount to the log odds."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_STEPS = 100
_CLOSE = 1e-9
_SHORTEST = 1e-6
_MOST_LOGIT = 30.0


@dataclass(slots=True, frozen=True)
class Curve:
    """What one feature adds to the log odds: ``values`` at ``knots``, straight between, level beyond."""

    knots: Numbers
    values: Numbers
    _steps: tuple[list[float], list[float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_steps", (self.knots.tolist(), self.values.tolist()))

    def at(self, x: float) -> float:
        """The amount at one value; for a single one faster than numpy."""
        knots, values = self._steps
        right = bisect_right(knots, x)
        if right in (0, len(knots)):
            return values[min(right, len(knots) - 1)]
        share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
        return values[right - 1] + share * (values[right] - values[right - 1])


@dataclass(slots=True, frozen=True)
class Fit:
    """One curve per feature and the intercept."""

    curves: tuple[Curve, ...]
    intercept: float

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Fit:
        """From plain numbers, as ``dump`` writes them."""
        curves = [Curve(np.array(curve["knots"]), np.array(curve["values"])) for curve in stored["curves"]]
        return cls(tuple(curves), float(stored["intercept"]))

    def dump(self) -> dict[str, Any]:
        """As plain numbers, rounded to what makes no difference."""
        curves = [
            {"knots": np.round(curve.knots, 5).tolist(), "values": np.round(curve.values, 5).tolist()}
            for curve in self.curves
        ]
        return {"curves": curves, "intercept": round(self.intercept, 5)}

    def contributions(self, features: Numbers) -> Numbers:
        """What each feature of each row adds to the log odds."""
        return np.column_stack([np.interp(x, c.knots, c.values) for x, c in zip(features.T, self.curves, strict=True)])

    def predict(self, features: Numbers) -> Numbers:
        """The probability of each row."""
        return sigmoid(self.contributions(features).sum(axis=1) + self.intercept)

    def estimate(self, features: Numbers) -> float:
        """The probability of one row."""
        logit = self.intercept + sum(curve.at(x) for x, curve in zip(features.tolist(), self.curves, strict=True))
        return 1.0 / (1.0 + exp(-min(max(logit, -_MOST_LOGIT), _MOST_LOGIT)))

    def digest(self) -> str:
        """Eight characters that change with any number."""
        return blake2b(repr(self.dump()).encode(), digest_size=4).hexdigest()


def fit_curves(features: Numbers, labels: Numbers, weights: Numbers, rises: Numbers) -> Fit:
    """Curves between quantiles of each feature that rise where ``rises`` is positive and fall where it is negative."""
    knots = [_place_knots(column) for column in features.T]
    columns, counts = [], []
    for column, at, sign in zip(features.T, knots, np.sign(rises), strict=True):
        steps = [np.clip((column - low) / (high - low), 0, 1) * sign for low, high in pairwise(at)]
        columns += steps
        counts.append(len(steps))
    rows = np.column_stack([*columns, np.ones(len(labels))])
    found = Problem(rows, labels, weights, np.zeros(rows.shape[1]), ridge=2.0).solve()
    slopes = np.split(found[:-1], np.cumsum(counts)[:-1])
    curves = [
        Curve(at, sign * np.concatenate([[0.0], np.cumsum(slope)]))
        for at, slope, sign in zip(knots, slopes, np.sign(rises), strict=True)
    ]
    return Fit(tuple(curves), float(found[-1]))


def _place_knots(column: Numbers, count: int = 6) -> Numbers:
    knots = np.unique(np.round(np.quantile(column, np.linspace(0, 1, count + 1)), 5))
    return knots if len(knots) > 1 else np.array([knots[0], knots[0] + 1.0])


def refit(shipped: Fit, features: Numbers, labels: Numbers, weights: Numbers) -> Fit:
    """Each curve stretched or flattened and the intercept moved, starting from the shipped ones as the prior's mean."""
    rows = np.column_stack([shipped.contributions(features), np.ones(len(labels))])
    prior = np.ones(rows.shape[1])
    prior[-1] = shipped.intercept
    found = Problem(rows, labels, weights, prior, ridge=20.0).solve()
    curves = [Curve(curve.knots, curve.values * scale) for curve, scale in zip(shipped.curves, found[:-1], strict=True)]
    return Fit(tuple(curves), float(found[-1]))


@dataclass(slots=True)
class Problem:
    """A penalised logistic likelihood; all coefficients but the last are kept from falling below zero.

    Projected Newton steps (Bertsekas, SIAM J. Control Optim. 20 (1982) 221-246) towards the most probable coefficients
    under a normal prior around ``prior``. The last coefficient is the intercept: free, and hardly penalised.
    """

    rows: Numbers
    labels: Numbers
    weights: Numbers
    prior: Numbers
    ridge: float

    def solve(self) -> Numbers:
        """The most probable coefficients."""
        found, loss = self.prior.copy(), self._loss(self.prior)
        for _ in range(_STEPS):
            reached, tried = self._search(found, loss)
            if tried is None:
                return found
            settled = loss - reached < _CLOSE * loss
            found, loss = tried, reached
            if settled:
                return found
        return found

    def _search(self, found: Numbers, loss: float) -> tuple[float, Numbers | None]:
        """The longest step, halved as often as needed, that lowers the loss."""
        step, size = self._step(found), 1.0
        while size > _SHORTEST:
            tried = np.maximum(found + size * step, self._low)
            reached = self._loss(tried)
            if reached < loss:
                return reached, tried
            size /= 2
        return loss, None

    def _step(self, found: Numbers) -> Numbers:
        chance = sigmoid(self.rows @ found)
        slope = self.rows.T @ (self.weights * (chance - self.labels)) + self._penalty * (found - self.prior)
        curvature = (self.rows * (self.weights * chance * (1 - chance))[:, None]).T @ self.rows + np.diag(self._penalty)
        free = ~((found <= self._low) & (slope > 0))
        step = np.zeros_like(found)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        return step

    def _loss(self, found: Numbers) -> float:
        logits = self.rows @ found
        misfit = self.weights @ (np.logaddexp(0, logits) - self.labels * logits)
        return float(misfit + self._penalty @ (found - self.prior) ** 2 / 2)

    @property
    def _low(self) -> Numbers:
        return np.append(np.zeros(len(self.prior) - 1), -np.inf)

    @property
    def _penalty(self) -> Numbers:
        return np.append(np.full(len(self.prior) - 1, self.ridge), 0.01)


def sigmoid(logits: Numbers) -> Numbers:
    """The probability of each log odds."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT)))

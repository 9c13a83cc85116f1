"""Labels counted by probability: what one scope of the calibration knows, and since when."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from backend.cache.semantic.confidence import Counts
from backend.cache.semantic.drift import Drift

THRESHOLDS = tuple(round(float(1 / (1 + np.exp(-logit))), 5) for logit in np.arange(9.0, -3.01, -0.25))
"""The grid, strictest first: equal steps of the log odds, from 0.99988 down to 0.05."""

START_LABELS = 150
COVERAGES = (0.15, 0.4)
"""A start is the strictest threshold that this share of the first labels reached."""

_ASCENDING = THRESHOLDS[::-1]
_BAND = 4
"""Strata to a band of the drift's reference rates."""


def stratum_of(probability: float) -> int:
    """Index of the strictest threshold that this probability reaches; ``len(THRESHOLDS)`` when none."""
    return len(THRESHOLDS) - bisect_right(_ASCENDING, probability)


class Evidence:
    """Counts of right and wrong labels per stratum and weight; starts anew when the rate of errors has risen."""

    def __init__(self) -> None:
        self.version = 0
        """Grows with every change."""
        self.age = 0
        """How often it started anew."""
        self.labels = 0
        self.starts: tuple[int, ...] = ()
        """Indices of the thresholds where tests begin; fixed by the first labels, blind to their verdicts."""
        self._drift = Drift()
        self._tallies: dict[float, np.ndarray] = {}

    def add(self, stratum: int, weight: float, *, wrong: bool) -> None:
        """One label more; forgets all of them when it proves that the past no longer holds."""
        self.count(stratum, weight, wrong=wrong)
        if self._drift.add(stratum // _BAND, wrong=wrong):
            self._tallies.clear()
            self.labels, self.starts, self.age = 0, (), self.age + 1

    def count(self, stratum: int, weight: float, *, wrong: bool) -> None:
        """The same without asking whether the past still holds."""
        self._tally(weight)[stratum, int(wrong)] += 1
        self.labels += 1
        self.version += 1
        if self.labels == START_LABELS:
            self.starts = self._choose_starts()

    def move(self, stratum: int, weight: float, *, wrong: bool) -> None:
        """A label counted before turned out to be the contrary: it is ``wrong`` now, or right."""
        tally = self._tally(weight)
        tally[stratum, int(wrong)] += 1
        tally[stratum, int(not wrong)] -= 1
        self.version += 1

    def counts(self) -> Counts:
        """Right and wrong labels at or above each threshold."""
        weights = np.array(list(self._tallies) or [1.0])
        tallies = np.stack(list(self._tallies.values()) or [_empty()])[:, :-1]
        totals = tallies.cumsum(axis=1)
        return Counts(weights, totals[:, :, 0], totals[:, :, 1])

    def _tally(self, weight: float) -> np.ndarray:
        return self._tallies.setdefault(weight, _empty())

    def _choose_starts(self) -> tuple[int, ...]:
        reached = sum(self._tallies.values(), start=_empty())[:-1].sum(axis=1).cumsum()
        wanted = [share * self.labels for share in COVERAGES]
        return tuple(sorted({int(np.argmax(reached >= each)) for each in wanted if reached[-1] >= each}))


def _empty() -> np.ndarray:
    return np.zeros((len(THRESHOLDS) + 1, 2), dtype=np.int64)

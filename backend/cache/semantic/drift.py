"""Notices that answers began to differ more often than before at the same probability, and says so once.

Per band of probabilities the past gives a reference rate of errors; each new label is a bet that the odds of an error
have become a multiple of it. The stake never falls below 1, so that it starts anew until a change happens (Page's
CUSUM, 1954, in the form of Shin, Ramdas & Rinaldo, "E-detectors", 2023). Labels below the serving threshold cost
nothing and are many: a change shows there long before the few verified hits could tell.
"""

from __future__ import annotations

from math import log

MULTIPLES = (2.0, 4.0, 16.0)
LIMIT = 10.0
"""Logarithm of the stake at which a change is announced: in a steady stream about once in 100,000 labels."""

_LEAST_LABELS = 30


class Drift:
    """The bets of one scope, band by band of probabilities."""

    def __init__(self) -> None:
        self._seen: dict[int, list[int]] = {}
        """Right and wrong labels of each band."""
        self._stakes = [0.0] * len(MULTIPLES)

    def add(self, band: int, *, wrong: bool) -> bool:
        """Take in one label; whether the rate of errors has risen. If so, everything starts anew."""
        seen = self._seen.setdefault(band, [0, 0])
        if sum(seen) >= _LEAST_LABELS:
            self._bet((seen[1] + 1) / (sum(seen) + 4), wrong=wrong)
        seen[wrong] += 1
        risen = max(self._stakes) >= LIMIT
        if risen:
            self._seen.clear()
            self._stakes = [0.0] * len(MULTIPLES)
        return risen

    def _bet(self, rate: float, *, wrong: bool) -> None:
        """Multiply the stakes by how much likelier this label would be had the odds of an error risen."""
        for index, multiple in enumerate(MULTIPLES):
            share = 1.0 - rate + multiple * rate
            gain = log(multiple / share) if wrong else -log(share)
            self._stakes[index] = max(0.0, self._stakes[index] + gain)

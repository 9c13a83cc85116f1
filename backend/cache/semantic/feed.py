"""What the labels say by now: the verifier in use, and the calibration of its threshold.

A refit that proved better waits until its own evidence lets it serve, unless the one before it does not serve either:
so taking one up never ends a service that works. The bound on false hits holds for each verifier by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from backend.cache.semantic.calibration import Calibration, Rules
from backend.cache.semantic.features import read_features
from backend.cache.semantic.refit import Hindsight, is_due, open_verifier, try_refit
from backend.cache.semantic.verifier import Verifier
from db.cache_labels import Label
from db.cache_verifiers import VerifierRow

log = logging.getLogger("governor.cache")

_LATE_MS = 60_000


class Records(Protocol):
    """The labels and the fits of the database; every method blocks."""

    def read_labels(self, since_ms: int) -> list[Label]:
        """Labels that came into the database since then (epoch ms)."""
        ...

    def read_verifiers(self, space: str) -> list[VerifierRow]:
        """Every fit of a space, oldest first."""
        ...

    def add_verifier(self, row: VerifierRow) -> None:
        """Keep a fit, unless another worker was first with its generation."""
        ...


class Standing:
    """One verifier, and what the labels let it serve."""

    def __init__(self, verifier: Verifier, space: str, labels: Iterable[Label] = ()) -> None:
        self.verifier = verifier
        self.calibration = Calibration()
        self._hindsight = Hindsight(verifier, space)
        self.add(labels)

    def add(self, labels: Iterable[Label]) -> list[Label]:
        """Take labels in; those that are evidence about this verifier, as it scores them."""
        evidence = [each for each in map(self._hindsight.rescore, labels) if each is not None]
        for each in evidence:
            self.calibration.add(each)
        return evidence


def read_verifiers_of(rows: Sequence[VerifierRow], shipped: Verifier) -> list[Verifier]:
    """The verifier in use until the last one was adopted, and that one; the shipped one alone while there is none."""
    found, newest = {shipped.name: shipped}, None
    for row in rows:
        if row.adopted:
            try:
                found[row.name] = open_verifier(row)
            except (ValueError, LookupError, TypeError):
                log.warning("the refitted verifier %s cannot be read", row.name)
            else:
                newest = row
    return [shipped] if newest is None else [found.get(newest.replaces, shipped), found[newest.name]]


class Calibrated(Protocol):
    """Whatever has a calibration."""

    @property
    def calibration(self) -> Calibration:
        """What it knows."""
        ...


Kind = TypeVar("Kind", bound=Calibrated)


def choose(standings: Sequence[Kind], rules: Rules) -> Kind:
    """The newest that serves; where none does, the newest."""
    serving = [each for each in standings if each.calibration.decide("", rules).state == "serving"]
    return (serving or list(standings))[-1]


@dataclass(slots=True)
class News:
    """What a look at the database brought; ``standings`` are new ones where a verifier was adopted meanwhile."""

    labels: list[Label]
    tried: list[VerifierRow]
    standings: list[Standing] | None = None


class Feed:
    """Follows the database: reads in a thread, takes in on the event loop."""

    def __init__(self, records: Records, shipped: Verifier, space: str, rules: Callable[[], Rules]) -> None:
        self.space = space
        self.tried: list[VerifierRow] = []
        """Every refit so far, oldest first."""
        self.featured = 0
        """Labels whose pair can be scored anew."""
        self._records = records
        self._shipped = shipped
        self._rules = rules
        self._standings = [Standing(shipped, space)]
        self._in_use = self._standings[0]
        self._since_ms = 0
        self._next_try = 0

    @property
    def verifier(self) -> Verifier:
        """The one in use."""
        return self._in_use.verifier

    @property
    def calibration(self) -> Calibration:
        """Of the verifier in use."""
        return self._in_use.calibration

    @property
    def waiting(self) -> Verifier | None:
        """A refit that was adopted but may not serve yet."""
        newest = self._standings[-1].verifier
        return None if newest is self.verifier else newest

    def read(self) -> News:
        """What came into the database since the last time, and a refit where one is due; blocks."""
        labels = self._records.read_labels(max(self._since_ms - _LATE_MS, 0))  # drainers commit in another order
        tried = self._records.read_verifiers(self.space)
        if self.featured >= self._next_try and is_due(self.featured, tried):
            tried = self._refit(tried)
        verifiers = read_verifiers_of(tried, self._shipped)
        if [each.name for each in verifiers] == [each.verifier.name for each in self._standings]:
            return News(labels, tried)
        labels = self._records.read_labels(0)
        return News(labels, tried, [Standing(each, self.space, labels) for each in verifiers])

    def add(self, news: News) -> None:
        """Take in what was read; runs on the event loop."""
        self.tried = news.tried
        for label in news.labels:
            self.featured += label.stored_at > self._since_ms and read_features(label.features, self.space) is not None
        self._since_ms = max([self._since_ms, *(label.stored_at for label in news.labels)])
        if news.standings is None:
            for each in self._standings:
                each.add(news.labels)
        else:
            self._standings = news.standings
        self._in_use = choose(self._standings, self._rules())

    def _refit(self, tried: list[VerifierRow]) -> list[VerifierRow]:
        """All fits, with a new one if the labels suffice for it."""
        self._next_try = self.featured + self.featured // 10
        row = try_refit(self._records.read_labels(0), self.verifier, self.space, tried)
        if row is None:
            return tried
        self._records.add_verifier(row)
        log.info("the verifier was refitted on %d labels: gain %.4f, adopted: %s", row.labels, row.gain, row.adopted)
        return self._records.read_verifiers(self.space)

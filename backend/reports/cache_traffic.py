"""Recorded look-ups of the semantic cache: how near the nearest question was, what each threshold would have done."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from math import exp
from statistics import median
from typing import Literal

import pandas as pd

from backend.cache.semantic.evidence import THRESHOLDS
from backend.cache.semantic.forecast import Recorded, predict, resolve
from backend.reports.cache_evidence import evidence_of
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.search import Patience, stretches
from db.bounded import Connection
from db.cache_reads import Compared, read_compared
from db.rollup_reads import Grouping, read_sums
from db.windows import Window

MOST_COMPARED = 20_000
"""Look-ups that are read one by one: the newest of the range."""

LOWEST = 0.5
"""The lowest threshold that can be set by hand."""

Measure = Literal["similarity", "probability"]
SERVED, NEAR, REFUSED = "semantic", "near miss", "refused by the gate"
OUTCOMES = (SERVED, NEAR, REFUSED)

_EDGES: dict[Measure, tuple[float, ...]] = {
    "similarity": tuple(place / 100 for place in range(101)),
    "probability": (0.0, *(1 / (1 + exp(-odds / 2)) for odds in range(-6, 19)), 1.0),
}
"""Where steps begin; those of the probability are even in log odds, since all that matters is near 1."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The look-ups read, newest first; ``lookups`` counts all since ``since_at`` (epoch ms), near question or none."""

    rows: tuple[Compared, ...]
    lookups: int
    since_at: int
    whole: bool
    """Whether they are all of the range."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """How many look-ups per step of a measure and outcome: ``start end outcome calls``."""

    frame: pd.DataFrame
    compared: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Outlook:
    """What serving from one threshold on would have done; ``false_hit_rate`` with its interval, none without labels.

    ``saved_nusd`` and ``saved_ms`` are what the calls upstream would not have cost and taken.
    """

    threshold: float
    hits: int
    hit_rate: float
    false_hit_rate: float | None
    low: float
    high: float
    saved_nusd: int
    saved_ms: float
    labels: int
    """Labels at or above the threshold."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """An outlook per threshold, rising; hit rates are shares of ``lookups``, which begin at ``since_at`` (epoch ms)."""

    outlooks: tuple[Outlook, ...]
    lookups: int
    compared: int
    labels: int
    since_at: int
    whole: bool
    """Whether these are all look-ups of the range."""

    def at(self, threshold: float) -> Outlook:
        """The outlook of a threshold."""
        return min(self.outlooks, key=lambda each: abs(each.threshold - threshold))


def thresholds(extra: Iterable[float] = ()) -> list[float]:
    """What can be chosen: the calibration's own grid from ``LOWEST`` on, and what is in force, rising."""
    return sorted({LOWEST, *(each for each in (*THRESHOLDS, *extra) if each >= LOWEST)})


def read_nearness(ledger: Ledger, scope: Scope, measure: Measure) -> Nearness:
    """The histogram of hits, near misses and questions that the gate refused."""
    with ledger.read() as connection:
        traffic = _read(connection, scope)
    edges = _EDGES[measure]
    counts: dict[tuple[int, str], int] = {}
    for row in traffic.rows:
        value = getattr(row, measure)
        if value is not None and not (measure == "probability" and not row.probability):
            key = (min(max(0, bisect_right(edges, value) - 1), len(edges) - 2), _outcome(row))
            counts[key] = counts.get(key, 0) + 1
    first = min((place for place, _ in counts), default=0)
    lines = [
        (edges[place], edges[place + 1], outcome, counts.get((place, outcome), 0))
        for outcome in OUTCOMES
        for place in range(first, len(edges) - 1)
    ]
    frame = pd.DataFrame(lines if counts else [], columns=["start", "end", "outcome", "calls"])
    return Nearness(frame, len(traffic.rows), traffic.whole)


def _outcome(row: Compared) -> str:
    if row.cache_kind == SERVED:
        return SERVED
    return NEAR if row.probability else REFUSED


def forecast(ledger: Ledger, scope: Scope, extra: tuple[float, ...] = ()) -> Forecast:
    """What serving from each threshold on would have done to the recorded look-ups, judged by all labels there are."""
    with ledger.read() as connection:
        evidence = evidence_of(ledger, connection)
        traffic = _read(connection, scope, evidence.since_at)
        labels = resolve(evidence.labels)
    recorded = _recorded(traffic.rows)
    outlooks = []
    for threshold in thresholds(extra):
        found = predict(labels, recorded, threshold)
        hits = round(found.hit_rate * len(recorded))
        outlook = Outlook(
            threshold=threshold,
            hits=hits,
            hit_rate=hits / traffic.lookups if traffic.lookups else 0.0,
            false_hit_rate=found.false_hit_rate,
            low=found.low,
            high=found.high,
            saved_nusd=found.saved_nusd,
            saved_ms=found.saved_ms,
            labels=sum(label.probability >= threshold for label in labels),
        )
        outlooks.append(outlook)
    counts = (traffic.lookups, len(recorded), len(labels))
    return Forecast(tuple(outlooks), *counts, traffic.since_at, traffic.whole)


def _recorded(rows: Iterable[Compared]) -> list[Recorded]:
    """What each look-up would have cost and taken upstream; of those served the time of a miss is taken."""
    known = list(rows)
    missed = [row.latency_ms for row in known if row.cache_kind == "miss" and row.latency_ms is not None]
    usual_ms = median(missed) if missed else None
    return [
        Recorded(row.probability, row.saved_nusd, usual_ms)
        if row.cache_kind == SERVED
        else Recorded(row.probability, row.cost_nusd, row.latency_ms)
        for row in known
    ]


def _read(connection: Connection, scope: Scope, not_before: int = 0) -> Traffic:
    """The newest look-ups, as many as are wanted or as a person waits for, none before that time (epoch ms)."""
    start_at = min(max(scope.start_at, not_before), scope.end_at)
    rows, since_at = _search(connection, scope.window.between(start_at, scope.end_at))
    window = scope.window.between(since_at, scope.end_at)
    sums = read_sums(connection, window, Grouping((), None, ("cache_lookups",)))
    lookups = sum(row.measures["cache_lookups"] for row in sums)
    return Traffic(tuple(rows), lookups, since_at, since_at == scope.start_at)


def _search(connection: Connection, window: Window) -> tuple[list[Compared], int]:
    """Look-ups of a window, newest first, and from when on these are all (epoch ms)."""
    patience = Patience()
    rows: list[Compared] = []
    for stretch in stretches(connection, window):
        rows += read_compared(connection, stretch, MOST_COMPARED - len(rows))
        if len(rows) >= MOST_COMPARED:
            return rows, rows[-1].started_at
        if patience.over and stretch.start_at > window.start_at:
            return rows, stretch.start_at
    return rows, window.start_at

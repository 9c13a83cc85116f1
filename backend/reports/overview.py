"""The overview: key figures with their course and their change against the period before, and ranked lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.percentiles import Percentiles, percentiles_of
from backend.reports.spend import SpendTable, spend_by
from backend.reports.totals import LEVERS, Totals, total_of
from db.bounded import Connection
from db.call_reads import read_first_at
from db.rollup_reads import Grouping, Source, Sums, latency_source_of, read_latency, read_sums, source_of
from db.windows import DAY_MS, Window

LONGEST_BY_CALL_MS = DAY_MS
"""Up to this range the percentiles of a card are read from the calls themselves where no rollup knows them."""

OWN_ORIGINS = ("embedding", "judge", "warmup")
"""Calls that Governor makes for its caches."""

Unit = Literal["nusd", "calls", "tokens", "share", "ms"]
Value = int | float | None


@dataclass(frozen=True, slots=True)
class Kpi:
    """One figure over the range, per bucket, and over the period before (none: no baseline to compare with)."""

    name: str
    title: str
    unit: Unit
    value: Value
    previous: Value
    series: tuple[Value, ...]
    good: Literal["up", "down", "neither"]

    @property
    def delta(self) -> float | None:
        """Relative change against the period before; none without a baseline or from zero."""
        if self.value is None or not self.previous:
            return None
        return (self.value - self.previous) / self.previous


@dataclass(frozen=True, slots=True)
class Kpis:
    """All figures of one range; ``buckets`` are the starts (epoch ms) of every series' points."""

    figures: tuple[Kpi, ...]
    buckets: tuple[int, ...]
    partial_last: bool
    totals: Totals
    saved_by: Mapping[str, int]
    """Nano-dollars saved per lever (title), each counted once."""
    source: Source

    def __getitem__(self, name: str) -> Kpi:
        return next(figure for figure in self.figures if figure.name == name)


@dataclass(frozen=True, slots=True)
class _Period:
    """What the figures of one period, or of one bucket of it, are computed from."""

    totals: Totals
    own: Totals
    """Of these, the calls that Governor made for itself: their money counts, but nobody asked for them."""
    latency: Percentiles
    ttft: Percentiles

    @property
    def calls(self) -> int:
        """Calls that somebody made."""
        return self.totals.calls - self.own.calls

    @property
    def error_rate(self) -> float | None:
        """Share of those that failed."""
        return (self.totals.failed - self.own.failed) / self.calls if self.calls else None


_Figure = tuple[str, str, Unit, Literal["up", "down", "neither"], Callable[[_Period], Value]]

_FIGURES: tuple[_Figure, ...] = (
    ("spend", "Spend", "nusd", "down", lambda period: period.totals.spend_nusd),
    ("calls", "Calls", "calls", "neither", lambda period: period.calls),
    ("saved", "Saved", "nusd", "up", lambda period: period.totals.saved_nusd),
    ("prompt_tokens", "Prompt tokens", "tokens", "neither", lambda period: period.totals.prompt_tokens),
    ("completion_tokens", "Completion tokens", "tokens", "neither", lambda period: period.totals.completion_tokens),
    ("cached_tokens", "Cached tokens", "tokens", "up", lambda period: period.totals.cached_tokens),
    ("error_rate", "Error rate", "share", "down", lambda period: period.error_rate),
    ("hit_rate", "Cache hit rate", "share", "up", lambda period: period.totals.hit_rate),
    ("latency_p50", "Latency p50", "ms", "down", lambda period: period.latency.p50),
    ("latency_p95", "Latency p95", "ms", "down", lambda period: period.latency.p95),
    ("ttft_p95", "TTFT p95", "ms", "down", lambda period: period.ttft.p95),
    ("unpriced", "Unpriced calls", "calls", "down", lambda period: period.totals.unpriced),
    ("estimated", "Estimated calls", "calls", "down", lambda period: period.totals.estimated),
)


def read_kpis(ledger: Ledger, scope: Scope) -> Kpis:
    """Every figure of the overview; latency over all answers, cache hits included.

    Calls that Governor makes for its caches count as money and tokens, not as calls or errors.

    Latency is none where only the calls know it (no rollup has the filter's dimension) and the range is beyond a day.
    """
    with ledger.read() as connection:
        readings = _read(connection, scope.window, scope.bucket_ms)
        whole = _period(_read(connection, scope.window, None).values())
        before = _read_previous(connection, scope)
    buckets = {at: _period([reading]) for at, reading in readings.items()}
    figures = tuple(
        Kpi(name, title, unit, of(whole), of(before) if before else None, _course(scope, buckets, of), good)
        for name, title, unit, good, of in _FIGURES
    )
    saved_by = {title: getattr(whole.totals, column) for column, title in LEVERS.items()}
    return Kpis(figures, scope.buckets, scope.partial_last, whole.totals, saved_by, source_of(scope.window, ()))


def read_ranked(ledger: Ledger, scope: Scope, dimension: str, limit: int = 8) -> SpendTable:
    """The values of a dimension that cost most: top models, keys, users, features."""
    return spend_by(ledger, scope, dimension, limit)


def read_latency_course(kpis: Kpis) -> pd.DataFrame:
    """Errors and latency per bucket (``at error_rate latency_p50 latency_p95 ttft_p95``) for small multiples."""
    names = ("error_rate", "latency_p50", "latency_p95", "ttft_p95")
    return pd.DataFrame({"at": kpis.buckets, **{name: kpis[name].series for name in names}})


@dataclass(frozen=True, slots=True)
class _Reading:
    """The rows of one bucket."""

    sums: list[Sums]
    own: list[Sums]
    latency: Mapping[int, int]
    ttft: Mapping[int, int]


def _period(readings: Iterable[_Reading]) -> _Period:
    each = list(readings)
    totals = total_of(row for reading in each for row in reading.sums)
    own = total_of(row for reading in each for row in reading.own)
    latency = _merged(reading.latency for reading in each)
    return _Period(totals, own, percentiles_of(latency), percentiles_of(_merged(reading.ttft for reading in each)))


def _merged(many: Iterable[Mapping[int, int]]) -> Mapping[int, int]:
    merged: Counter[int] = Counter()
    for counts in many:
        merged.update(counts)
    return merged


def _read_previous(connection: Connection, scope: Scope) -> _Period | None:
    """The period before, if the comparison is wanted and the ledger reaches back that far."""
    first_at = read_first_at(connection) if scope.compare else None
    if first_at is None or first_at > scope.previous.start_at + scope.bucket_ms:
        return None
    found = _period(_read(connection, scope.previous, None).values())
    return found if found.totals.calls else None


def _read(connection: Connection, window: Window, bucket_ms: int | None) -> dict[int | None, _Reading]:
    sums = {row.at: row for row in read_sums(connection, window, Grouping((), bucket_ms))}
    own = _read_own(connection, window, bucket_ms)
    latency = _read_counts(connection, window, "latency_ms", bucket_ms)
    ttft = _read_counts(connection, window, "ttft_ms", bucket_ms)
    return {at: _Reading([row], own.get(at, []), latency.get(at, {}), ttft.get(at, {})) for at, row in sums.items()}


def _read_own(connection: Connection, window: Window, bucket_ms: int | None) -> dict[int | None, list[Sums]]:
    """Calls that Governor made for its caches, unless an origin was asked for."""
    if "origin" in window.filters:
        return {}
    own = replace(window, filters={**window.filters, "origin": OWN_ORIGINS})
    rows = read_sums(connection, own, Grouping((), bucket_ms, ("calls", "failed")))
    return {row.at: [row] for row in rows}


def _read_counts(
    connection: Connection, window: Window, measure: str, bucket_ms: int | None
) -> dict[int | None, Mapping[int, int]]:
    if latency_source_of(window, ()) == "calls" and window.end_at - window.start_at > LONGEST_BY_CALL_MS:
        return {}
    return {row.at: row.counts for row in read_latency(connection, window, measure, Grouping((), bucket_ms))}


def _course(scope: Scope, periods: Mapping[int | None, _Period], of: Callable[[_Period], Value]) -> tuple[Value, ...]:
    empty = _period([])
    return tuple(of(periods.get(at, empty)) for at in scope.buckets)

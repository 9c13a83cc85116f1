"""How long calls take: percentiles over time and by dimension, and their distribution; cache hits apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.names import name_of, read_names
from backend.reports.percentiles import QUANTILES, Percentiles, bucket_start_ms, percentiles_of
from backend.reports.totals import NOT_HIT_KINDS
from db.measures import HITS
from db.rollup_reads import Grouping, LatencyCounts, Source, latency_source_of, read_latency
from db.windows import Window

Measure = Literal["ttft_ms", "itl_ms", "latency_ms", "overhead_ms"]
Answers = Literal["upstream", "cache", "all"]

MEASURES: Mapping[Measure, str] = {
    "ttft_ms": "Time to first token",
    "itl_ms": "Inter-token latency",
    "latency_ms": "Total",
    "overhead_ms": "Overhead",
}
"""The durations of a call, with their titles."""

_HISTOGRAM_STEP = 4  # buckets of 4 % are too thin for bars: 17 % each


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Percentiles as a frame (``p50 p90 p95 p99`` in ms, ``calls``), and the tables that it was read from."""

    frame: pd.DataFrame
    source: Source


def latency_summary(ledger: Ledger, scope: Scope, answers: Answers = "upstream") -> dict[Measure, Percentiles]:
    """Percentiles of every measure over the whole range, of answers from upstream or from our cache."""
    window = answered_by(scope.window, answers)
    with ledger.read() as connection:
        return {name: percentiles_of(_counts(read_latency(connection, window, name, Grouping()))) for name in MEASURES}


def latency_over_time(ledger: Ledger, scope: Scope, measure: Measure, answers: Answers = "upstream") -> LatencyReport:
    """Percentiles per bucket, as columns ``at p50 p90 p95 p99 calls``; a bucket without calls has no percentiles."""
    window = answered_by(scope.window, answers)
    with ledger.read() as connection:
        rows = read_latency(connection, window, measure, Grouping(bucket_ms=scope.bucket_ms))
    groups = {row.at: row.counts for row in rows}
    frame = _frame("at", {at: groups.get(at, {}) for at in scope.buckets})
    return LatencyReport(frame, latency_source_of(window, ()))


def latency_by(
    ledger: Ledger, scope: Scope, dimension: str, measure: Measure, answers: Answers = "upstream"
) -> LatencyReport:
    """Percentiles per value of a dimension, most calls first, as columns ``value name p50 p90 p95 p99 calls``."""
    window = answered_by(scope.window, answers)
    with ledger.read() as connection:
        rows = read_latency(connection, window, measure, Grouping((dimension,)))
        names = read_names(connection)
    frame = _frame("value", {row.values[0]: row.counts for row in rows})
    frame.insert(1, "name", [name_of(dimension, str(value), names) for value in frame["value"]])
    return LatencyReport(
        frame.sort_values(["calls", "value"], ascending=[False, True], ignore_index=True),
        latency_source_of(window, (dimension,)),
    )


def latency_histogram(ledger: Ledger, scope: Scope, measure: Measure, answers: Answers = "upstream") -> LatencyReport:
    """How many calls took how long, as columns ``from_ms to_ms calls`` with logarithmic steps."""
    window = answered_by(scope.window, answers)
    with ledger.read() as connection:
        rows = read_latency(connection, window, measure, Grouping())
    bars: dict[int, int] = {}
    for bucket, calls in _counts(rows).items():
        bars[bucket // _HISTOGRAM_STEP] = bars.get(bucket // _HISTOGRAM_STEP, 0) + calls
    steps = range(min(bars), max(bars) + 1) if bars else range(0)
    edges = {step: bucket_start_ms(step * _HISTOGRAM_STEP) for step in (*steps, steps.stop)}
    lines = [(edges[step], edges[step + 1], bars.get(step, 0)) for step in steps]
    return LatencyReport(pd.DataFrame(lines, columns=["from_ms", "to_ms", "calls"]), latency_source_of(window, ()))


def answered_by(window: Window, answers: Answers) -> Window:
    """The window's calls that were answered from upstream, or from our cache."""
    if answers == "all":
        return window
    wanted = HITS if answers == "cache" else NOT_HIT_KINDS
    chosen = window.filters.get("cache_kind", wanted)
    kinds = tuple(kind for kind in wanted if kind in chosen)
    return replace(window, filters={**window.filters, "cache_kind": kinds})


def _counts(rows: list[LatencyCounts]) -> Mapping[int, int]:
    """The counts of a reading that is not grouped."""
    return rows[0].counts if rows else {}


def _frame(key: str, groups: Mapping[Any, Mapping[int, int]]) -> pd.DataFrame:
    lines = []
    for value, counts in groups.items():
        found = percentiles_of(counts)
        lines.append((value, *(getattr(found, name) for name in QUANTILES), found.calls))
    frame = pd.DataFrame(lines, columns=[key, *QUANTILES, "calls"])
    return frame.astype(dict.fromkeys(QUANTILES, "float64"))

"""What calls cost, by any dimension: tables that add up to the nano-dollar, and the same over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.names import OTHER, name_of, read_names
from backend.reports.totals import MEASURE_NAMES, Totals, total_of, totals_by
from db.bounded import Connection
from db.rollup_reads import Grouping, Source, Sums, read_sums, source_of

TOP = 8
"""Groups that a chart shows by name; the rest is "Other"."""

MEASURES: Mapping[str, str] = {
    "cost_nusd": "Spend",
    "calls": "Calls",
    "prompt_tokens": "Prompt tokens",
    "completion_tokens": "Completion tokens",
    "saved_nusd": "Saved",
    "failed": "Failed calls",
}
"""What can be drawn over time, with its title."""

_COLUMNS = "calls failed prompt_tokens cached_tokens completion_tokens saved_nusd unpriced estimated"


@dataclass(frozen=True, slots=True)
class SpendTable:
    """One row per value (``value name calls … cost_nusd share series``), dearest first; ``totals`` counts every value.

    ``cost_nusd`` is missing where no call of the value has a price; ``rest`` counts the values beyond the last row.
    """

    frame: pd.DataFrame
    totals: Totals
    rest: int
    source: Source


@dataclass(frozen=True, slots=True)
class OverTime:
    """A measure per bucket and group (``at group value``), groups in the order of their size, "Other" last."""

    frame: pd.DataFrame
    groups: tuple[str, ...]
    unpriced: int
    source: Source


def spend_by(ledger: Ledger, scope: Scope, dimension: str, limit: int = 50) -> SpendTable:
    """Calls, tokens, cost, savings per value of a dimension; drill down with ``scope.narrowed(dimension, value)``."""
    with ledger.read() as connection:
        ranked = _ranked(connection, scope, (dimension, "cost_nusd"))
        shown = ranked[:limit]
        rows = _rows_of(connection, scope, (dimension, shown))
        costs = _rows_of(connection, scope, (dimension, shown), scope.bucket_ms, ("cost_nusd",))
        whole = total_of(read_sums(connection, scope.window, Grouping()))
        names = read_names(connection)
    groups, series = totals_by(rows, 0), _series(costs, scope)
    lines = [_line(name_of(dimension, value, names), value, groups[value], whole) for value in shown]
    frame = pd.DataFrame(lines, columns=["value", "name", *_COLUMNS.split(), "cost_nusd", "per_1k_calls_nusd", "share"])
    frame = frame.astype({"cost_nusd": "Int64", "per_1k_calls_nusd": "Int64", "share": "float64"})
    frame["series"] = [series.get(value, [0] * len(scope.buckets)) for value in shown]
    return SpendTable(frame, whole, len(ranked) - len(shown), source_of(scope.window, (dimension,)))


def over_time(ledger: Ledger, scope: Scope, dimension: str | None = None, measure: str = "cost_nusd") -> OverTime:
    """A measure over time, split by a dimension into its ``TOP`` largest values and "Other"."""
    with ledger.read() as connection:
        top = _ranked(connection, scope, (dimension, measure))[:TOP] if dimension else []
        names = read_names(connection)
        rows = _rows_over_time(connection, scope, (dimension, measure, top))
    labels = {value: name_of(dimension or "", value, names) for value in top}
    values: dict[tuple[int, str], int] = {}
    for row in rows:
        group = labels.get(row.values[0], OTHER) if row.values else MEASURES[measure]
        values[row.at or 0, group] = values.get((row.at or 0, group), 0) + row.measures[measure]
    present = {group for _, group in values}
    groups = tuple(each for each in (*labels.values(), MEASURES[measure], OTHER) if each in present)
    lines = [(at, group, values.get((at, group), 0)) for at in scope.buckets for group in groups]
    frame = pd.DataFrame(lines, columns=["at", "group", "value"]).astype({"at": "int64", "value": "int64"})
    source = source_of(scope.window, (dimension,) if dimension else ())
    return OverTime(frame, groups, sum(row.measures["unpriced"] for row in rows), source)


def _ranked(connection: Connection, scope: Scope, what: tuple[str, str]) -> list[str]:
    """Every value of a dimension, largest measure first; few columns, since callers may choose many values."""
    dimension, measure = what
    measures = tuple(dict.fromkeys((measure, "calls")))
    rows = read_sums(connection, scope.window, Grouping((dimension,), measures=measures))
    rows.sort(key=lambda row: (-row.measures[measure], -row.measures["calls"], row.values))
    return [row.values[0] for row in rows]


def _rows_of(
    connection: Connection,
    scope: Scope,
    shown: tuple[str, list[str]],
    bucket_ms: int | None = None,
    measures: tuple[str, ...] = MEASURE_NAMES,
) -> list[Sums]:
    """Sums of the values shown; every measure per bucket would be far more numbers than a table shows."""
    dimension, values = shown
    if not values:
        return []
    window = scope.narrowed(dimension, *values).window
    return read_sums(connection, window, Grouping((dimension,), bucket_ms, measures))


def _rows_over_time(connection: Connection, scope: Scope, what: tuple[str | None, str, list[str]]) -> list[Sums]:
    """Per bucket the named values one by one; the others as what is left of the whole."""
    dimension, measure, top = what
    measures = tuple({measure, "unpriced"})
    whole = read_sums(connection, scope.window, Grouping((), scope.bucket_ms, measures))
    if dimension is None:
        return whole
    window = scope.narrowed(dimension, *top).window
    named = read_sums(connection, window, Grouping((dimension,), scope.bucket_ms, measures)) if top else []
    left = {row.at: dict(row.measures) for row in whole}
    for row in named:
        rest = left.setdefault(row.at, dict.fromkeys(measures, 0))
        for name, value in row.measures.items():
            rest[name] -= value
    return [*named, *(Sums(at, ("\0other",), rest) for at, rest in left.items() if any(rest.values()))]


def _series(rows: list[Sums], scope: Scope) -> dict[str, list[int]]:
    """Cost per bucket of each value, for sparklines."""
    places = {at: place for place, at in enumerate(scope.buckets)}
    series: dict[str, list[int]] = {}
    for row in rows:
        points = series.setdefault(row.values[0], [0] * len(places))
        points[places[row.at or 0]] += row.measures["cost_nusd"]
    return series


def _line(name: str, value: str, sums: Totals, totals: Totals) -> tuple[object, ...]:
    counted = (getattr(sums, column) for column in _COLUMNS.split())
    share = sums.cost_nusd / totals.cost_nusd if totals.cost_nusd else None
    return (value, name, *counted, sums.spend_nusd, sums.per_1k_calls_nusd, share)


__all__ = ["MEASURES", "TOP", "OverTime", "SpendTable", "over_time", "spend_by"]

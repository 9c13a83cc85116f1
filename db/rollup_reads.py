"""Sums of calls by time and dimension: rollups where they can answer, the calls themselves where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, Select, Table, literal_column, select
from sqlalchemy.sql import ColumnElement

from db.measures import CLOSED, dimension_of, filters_of, latency_bucket, narrowing_of, sums_of
from db.tables import (
    LATENCY_DIMENSIONS,
    MEASURES,
    ROLLUP_DIMENSIONS,
    USER_DIMENSIONS,
    calls,
    daily_latency_rollups,
    daily_rollups,
    daily_user_rollups,
    latency_rollups,
    rollups,
    user_rollups,
)
from db.windows import Grain, Segment, Window, needs, segments

Source = Literal["rollups", "user_rollups", "latency_rollups", "calls"]

_TABLES: dict[tuple[Source, Grain], Table] = {
    ("rollups", "hour"): rollups,
    ("rollups", "day"): daily_rollups,
    ("user_rollups", "hour"): user_rollups,
    ("user_rollups", "day"): daily_user_rollups,
    ("latency_rollups", "hour"): latency_rollups,
    ("latency_rollups", "day"): daily_latency_rollups,
}


@dataclass(frozen=True, slots=True)
class Grouping:
    """By which dimensions, in which buckets of time (ms; none: one), and which measures to read."""

    dimensions: tuple[str, ...] = ()
    bucket_ms: int | None = None
    measures: tuple[str, ...] = tuple(MEASURES)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of one group: its bucket's start (none: whole window), its dimension values, its measures."""

    at: int | None
    values: tuple[str, ...]
    measures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LatencyCount:
    """How many calls of one group fell in one logarithmic latency bucket."""

    at: int | None
    values: tuple[str, ...]
    bucket: int
    calls: int


def source_of(window: Window, dimensions: Iterable[str]) -> Source:
    """Which table family can answer exactly; ``calls`` when no rollup knows every dimension."""
    touched = needs(window, dimensions)
    if touched <= set(ROLLUP_DIMENSIONS):
        return "rollups"
    return "user_rollups" if touched <= set(USER_DIMENSIONS) else "calls"


def latency_source_of(window: Window, dimensions: Iterable[str]) -> Source:
    """Which table family knows the latency of these dimensions."""
    return "latency_rollups" if needs(window, dimensions) <= set(LATENCY_DIMENSIONS) else "calls"


def read_sums(connection: Connection, window: Window, by: Grouping) -> list[Sums]:
    """Sums per group, ordered by time and values; groups without calls are absent."""
    source = source_of(window, by.dimensions)
    merged: dict[tuple[Any, ...], dict[str, int]] = {}
    for part in _parts(source, window, by.bucket_ms):
        for row in connection.execute(_sums_query(source, part, window, by)).mappings():
            _add(merged.setdefault(_group(row, by), dict.fromkeys(by.measures, 0)), row)
    return [Sums(group[0], group[1], merged[group]) for group in sorted(merged, key=_order)]


def read_latency(connection: Connection, window: Window, measure: str, by: Grouping) -> list[LatencyCount]:
    """Counts per group and latency bucket of ``measure`` (``ttft_ms``, ``itl_ms``, ``latency_ms``, ``overhead_ms``)."""
    source = latency_source_of(window, by.dimensions)
    merged: dict[tuple[int | None, tuple[str, ...], int], int] = {}
    for part in _parts(source, window, by.bucket_ms):
        for row in connection.execute(_latency_query(source, part, window, (measure, by))).mappings():
            group = (*_group(row, by), int(row["bucket"]))
            merged[group] = merged.get(group, 0) + row["calls"]
    return [LatencyCount(*group, merged[group]) for group in sorted(merged, key=_order)]


def _parts(source: Source, window: Window, bucket_ms: int | None) -> list[Segment]:
    if source == "calls":
        return [Segment("call", window.start_at, window.end_at)]
    return segments(window, bucket_ms)


def _table(source: Source, grain: Grain) -> Table:
    return calls if grain == "call" else _TABLES[source, grain]


def _sums_query(source: Source, part: Segment, window: Window, by: Grouping) -> Select[Any]:
    table = _table(source, part.grain)
    keys = _keys(table, by)
    return select(*keys, *sums_of(table, by.measures)).where(*_conditions(table, part, window)).group_by(*keys)


def _latency_query(source: Source, part: Segment, window: Window, what: tuple[str, Grouping]) -> Select[Any]:
    measure, by = what
    table = _table(source, part.grain)
    keys, conditions = _keys(table, by), _conditions(table, part, window)
    if table is calls:
        keys.append(latency_bucket(calls.c[measure]).label("bucket"))
        conditions.append(calls.c[measure].is_not(None))
    else:
        keys.append(table.c.bucket)
        conditions.append(table.c.measure == measure)
    return select(*keys, *sums_of(table, ("calls",))).where(*conditions).group_by(*keys)


def _time(table: Table) -> ColumnElement[int]:
    names = ("started_at", "hour_at", "day_at")
    return next(table.c[name] for name in names if name in table.c)


def _keys(table: Table, by: Grouping) -> list[ColumnElement[Any]]:
    keys: list[ColumnElement[Any]] = [dimension_of(table, each).label(each) for each in by.dimensions]
    if by.bucket_ms is not None:
        at = _time(table)
        keys.insert(0, (at - at % literal_column(str(by.bucket_ms))).label("at"))
    return keys


def _conditions(table: Table, part: Segment, window: Window) -> list[ColumnElement[bool]]:
    at = _time(table)
    conditions = [at >= part.start_at, at < part.end_at, *filters_of(table, window)]
    return [*conditions, CLOSED, *narrowing_of(window)] if table is calls else conditions


def _group(row: RowMapping, by: Grouping) -> tuple[int | None, tuple[str, ...]]:
    at = None if by.bucket_ms is None else int(row["at"])
    return at, tuple(row[each] for each in by.dimensions)


def _add(sums: dict[str, int], row: RowMapping) -> None:
    for name in sums:
        sums[name] += row[name]


def _order(group: tuple[Any, ...]) -> tuple[Any, ...]:
    return (group[0] or 0, *group[1:])

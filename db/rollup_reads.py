"""Sums of calls by time and dimension: rollups where they can answer, the calls themselves where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import add, itemgetter
from typing import Any, Literal

from sqlalchemy import Column, Connection, Select, Table, literal_column, select
from sqlalchemy.sql import ColumnElement

from db.measures import CLOSED, dimension_of, filters_of, latency_bucket, narrowing_of, shorten, sums_of
from db.tables import (
    LATENCY_DIMENSIONS,
    MEASURES,
    ROLLUP_DIMENSIONS,
    SINGLE_DIMENSIONS,
    calls,
    daily_dimension_rollups,
    daily_latency_rollups,
    daily_latency_totals,
    daily_rollups,
    dimension_rollups,
    latency_rollups,
    latency_totals,
    rollups,
)
from db.windows import STEPS_MS, Grain, Segment, Window, needs, segments

Source = Literal["dimension_rollups", "rollups", "latency_totals", "latency_rollups", "calls"]

_TABLES: dict[tuple[Source, Grain], Table] = {
    ("dimension_rollups", "hour"): dimension_rollups,
    ("dimension_rollups", "day"): daily_dimension_rollups,
    ("rollups", "hour"): rollups,
    ("rollups", "day"): daily_rollups,
    ("latency_totals", "hour"): latency_totals,
    ("latency_totals", "day"): daily_latency_totals,
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
class LatencyCounts:
    """How many calls of one group fell in each logarithmic latency bucket."""

    at: int | None
    values: tuple[str, ...]
    counts: Mapping[int, int]


def source_of(window: Window, dimensions: Iterable[str]) -> Source:
    """Which tables can answer exactly with the fewest rows; ``calls`` when no rollup knows every dimension."""
    touched = needs(window, dimensions)
    if len(touched) <= 1 and touched <= set(SINGLE_DIMENSIONS):
        return "dimension_rollups"
    return "rollups" if touched <= set(ROLLUP_DIMENSIONS) else "calls"


def latency_source_of(window: Window, dimensions: Iterable[str]) -> Source:
    """Which tables know the latency of these dimensions."""
    touched = needs(window, dimensions)
    if touched <= {"cache_kind"}:
        return "latency_totals"
    return "latency_rollups" if touched <= set(LATENCY_DIMENSIONS) else "calls"


def read_sums(connection: Connection, window: Window, by: Grouping) -> list[Sums]:
    """Sums per group, ordered by time and values; groups without calls are absent."""
    source = source_of(window, by.dimensions)
    width = _width(by)
    merged: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for part in _parts(source, window, by.bucket_ms):
        for row in _fetch(connection, _sums_query(source, part, window, by)):
            group, amounts = row[:width], row[width:]
            if part.grain == "call":
                group = _named(group, by)
            have = merged.get(group)
            merged[group] = amounts if have is None else tuple(map(add, have, amounts))
    found = sorted(group for group, amounts in merged.items() if any(amounts))
    return [Sums(*_group(group, by), dict(zip(by.measures, merged[group], strict=True))) for group in found]


def read_latency(connection: Connection, window: Window, measure: str, by: Grouping) -> list[LatencyCounts]:
    """Counts per group and bucket of one measure: ``ttft_ms``, ``itl_ms``, ``latency_ms`` or ``overhead_ms``."""
    source = latency_source_of(window, by.dimensions)
    groups: dict[tuple[Any, ...], dict[int, int]] = {}
    for part in _parts(source, window, by.bucket_ms):
        rows = _fetch(connection, _latency_query(source, part, window, (measure, by)))
        for key, same in groupby(rows, itemgetter(slice(-2))):
            group, counts = key if part.grain != "call" else _named(key, by), dict(map(itemgetter(-2, -1), same))
            for bucket, before in groups.get(group, {}).items():
                counts[bucket] = counts.get(bucket, 0) + before
            groups[group] = counts
    return [LatencyCounts(*_group(group, by), groups[group]) for group in sorted(groups)]


def _named(key: tuple[Any, ...], by: Grouping) -> tuple[Any, ...]:
    """A group read from the calls, its values cut as rollups hold them."""
    first = len(key) - len(by.dimensions)
    return (*key[:first], *map(shorten, key[first:]))


def _fetch(connection: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    """The driver's own tuples: texts and integers need no conversion, and there may be tens of thousands."""
    with connection.execute(query) as result:
        return list(result.cursor.fetchall())


def _parts(source: Source, window: Window, bucket_ms: int | None) -> list[Segment]:
    if source == "calls":
        return [Segment("call", window.start_at, window.end_at)]
    return segments(window, bucket_ms)


def _table(source: Source, grain: Grain) -> Table:
    return calls if grain == "call" else _TABLES[source, grain]


def _sums_query(source: Source, part: Segment, window: Window, by: Grouping) -> Select[Any]:
    table = _table(source, part.grain)
    keys = _keys(table, by)
    conditions = _conditions(table, part, window)
    if source == "dimension_rollups" and table is not calls:
        single = next(iter(needs(window, by.dimensions)), "")
        conditions.append(table.c.dimension == single)
    return select(*keys, *sums_of(table, by.measures)).where(*conditions).group_by(*keys)


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
    return select(*keys, *sums_of(table, ("calls",))).where(*conditions).group_by(*keys).order_by(*keys)


_TIMES: Mapping[str, Grain] = {"started_at": "call", "hour_at": "hour", "day_at": "day"}


def _time(table: Table) -> Column[Any]:
    return next(table.c[name] for name in _TIMES if name in table.c)


def _keys(table: Table, by: Grouping) -> list[ColumnElement[Any]]:
    """What to group by; the time first, because the rows lie in its order."""
    keys: list[ColumnElement[Any]] = [dimension_of(table, each).label(each) for each in by.dimensions]
    if by.bucket_ms is not None:
        at = _time(table)
        fits = STEPS_MS[_TIMES[at.name]] == by.bucket_ms  # the plain column: its order spares the database a sort
        keys.insert(0, (at if fits else at - at % literal_column(str(by.bucket_ms))).label("at"))
    return keys


_MOST_TIMES = 10_000
"""More buckets than that, as in all time, are scanned."""


def _conditions(table: Table, part: Segment, window: Window) -> list[ColumnElement[bool]]:
    at = _time(table)
    within = [at >= part.start_at, at < part.end_at]
    if table is calls:
        return [*within, CLOSED, *filters_of(table, window), *narrowing_of(window)]
    times = range(part.start_at, part.end_at, STEPS_MS[part.grain])
    if len(times) <= _MOST_TIMES and _seekable(table, window):
        within = [at.in_(times)]
    return [*within, *filters_of(table, window)]


def _seekable(table: Table, window: Window) -> bool:
    """Whether the filters name the key's part right after the time: each time is then sought, not scanned."""
    keys = [column.name for column in table.primary_key]
    following = keys[keys.index(_time(table).key) + 1]
    return following in window.filters or (following == "value" and bool(window.filters))


def _width(by: Grouping) -> int:
    """How many columns of a row say which group it is."""
    return len(by.dimensions) + (by.bucket_ms is not None)


def _group(key: tuple[Any, ...], by: Grouping) -> tuple[int | None, tuple[str, ...]]:
    """A group's bucket and values."""
    return (None, key) if by.bucket_ms is None else (key[0], key[1:])

"""Large ledgers made quickly: a few thousand patterns multiplied inside the database, and the rollups of the result."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, insert, literal_column, select, text
from sqlalchemy.sql import ColumnElement

from db.engine import writing
from db.measures import CLOSED, dimension_of, latency_bucket, sums_of
from db.tables import (
    LATENCY_DIMENSIONS,
    LATENCY_MEASURES,
    MEASURES,
    ROLLUP_DIMENSIONS,
    calls,
    daily_dimension_rollups,
    daily_latency_rollups,
    daily_latency_totals,
    daily_rollups,
    dimension_rollups,
    keys,
    latency_rollups,
    latency_totals,
    metadata,
    rollups,
)
from tests.fabricated_calls import fabricate_call

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PATTERNS = 4099  # a prime, so that walking through them in steps visits each


@dataclass(frozen=True, slots=True)
class Plan:
    """How many calls, over how many days up to ``end_at`` (epoch ms), by how many users and keys."""

    calls: int
    days: int = 90
    end_at: int = 20_717 * DAY_MS
    users: int = 2_000
    keys: int = 30
    seed: int = 7

    @property
    def start_at(self) -> int:
        return self.end_at - self.days * DAY_MS

    def of_day(self, day: int) -> int:
        """Calls of one day; the first has what is left over."""
        return self.calls // self.days + (self.calls % self.days if day == 0 else 0)

    @property
    def repeats(self) -> bool:
        """Whether days are UTC days: all but the first are alike then, and so are their rollups."""
        return self.days > 2 and self.end_at % DAY_MS == 0


def fabricate(engine: Engine, plan: Plan) -> None:
    """Fill an empty database with calls, their rollups and their keys."""
    metadata.create_all(engine)
    with writing(engine) as connection:
        _write_patterns(connection, plan)
        connection.execute(insert(keys), [_key(number, plan) for number in range(plan.keys)])
    for day in range(plan.days):
        with writing(engine) as connection:
            connection.execute(text(_copy_patterns(connection, plan, day)))
        if plan.repeats and day == 1:
            fill_rollups(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP TABLE patterns")
    if plan.repeats:
        _repeat_rollups(engine, plan)
    else:
        fill_rollups(engine)
    _settle(engine)


def fill_rollups(engine: Engine) -> None:
    """Sum every call into the empty rollups, as the drainer does call by call."""
    for start_at, end_at in _slices(engine):
        with writing(engine) as connection:
            within = [calls.c.started_at >= start_at, calls.c.started_at < end_at, CLOSED]
            _fill_hours(connection, within)
            for measure in LATENCY_MEASURES:
                _fill_latency(connection, measure, within)
    with writing(engine) as connection:
        for name in ("", *ROLLUP_DIMENSIONS):
            _fill_dimension(connection, name)
        _regroup(connection, (latency_rollups, latency_totals), ["calls"])
        _regroup(connection, (rollups, daily_rollups), list(MEASURES))
        _regroup(connection, (dimension_rollups, daily_dimension_rollups), list(MEASURES))
        _regroup(connection, (latency_rollups, daily_latency_rollups), ["calls"])
        _regroup(connection, (latency_totals, daily_latency_totals), ["calls"])


def _repeat_rollups(engine: Engine, plan: Plan) -> None:
    """The rows of the second day once more for each day after it."""
    names = [name for name in metadata.tables if name.endswith(("rollups", "latency_totals"))]
    for day in range(2, plan.days):
        with writing(engine) as connection:
            for name in names:
                _repeat(connection, metadata.tables[name], plan.start_at + DAY_MS, (day - 1) * DAY_MS)


def _repeat(connection: Connection, table: Table, start_at: int, shift: int) -> None:
    at = table.c.hour_at if "hour_at" in table.c else table.c.day_at
    columns = [at + literal_column(str(shift)) if column is at else column for column in table.c]
    rows = select(*columns).where(at >= start_at, at < start_at + DAY_MS)
    connection.execute(insert(table).from_select([column.name for column in table.c], rows))


def _settle(engine: Engine) -> None:
    """What autovacuum does in a database that runs for longer than a test."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _slices(engine: Engine) -> Iterator[tuple[int, int]]:
    """Whole days: no row of a rollup is touched by two of them."""
    with engine.connect() as connection:
        first, last = connection.execute(select(func.min(calls.c.started_at), func.max(calls.c.started_at))).one()
    if first is None:
        return
    for at in range(first - first % DAY_MS, last + 1, DAY_MS):
        yield at, at + DAY_MS


def _fill_hours(connection: Connection, within: list[ColumnElement[bool]]) -> None:
    groups: list[ColumnElement[Any]] = [_hour(), *(dimension_of(calls, name).label(name) for name in ROLLUP_DIMENSIONS)]
    sums = select(*groups, *sums_of(calls)).where(*within).group_by(*groups)
    connection.execute(insert(rollups).from_select(["hour_at", *ROLLUP_DIMENSIONS, *MEASURES], sums))
    users: list[ColumnElement[Any]] = [_hour(), dimension_of(calls, "user").label("value")]
    sums = select(_named("user"), *users, *sums_of(calls)).where(*within).group_by(*users)
    connection.execute(insert(dimension_rollups).from_select(["dimension", "hour_at", "value", *MEASURES], sums))


def _fill_dimension(connection: Connection, name: str) -> None:
    value: ColumnElement[str] = rollups.c[name] if name else literal_column("''")
    groups: list[ColumnElement[Any]] = [rollups.c.hour_at, *([value] if name else [])]
    sums = select(_named(name), rollups.c.hour_at, value, *sums_of(rollups)).group_by(*groups)
    connection.execute(insert(dimension_rollups).from_select(["dimension", "hour_at", "value", *MEASURES], sums))


def _fill_latency(connection: Connection, measure: str, within: list[ColumnElement[bool]]) -> None:
    bucket = latency_bucket(calls.c[measure]).label("bucket")
    groups: list[ColumnElement[Any]] = [
        _hour(),
        *(dimension_of(calls, name).label(name) for name in LATENCY_DIMENSIONS),
        bucket,
    ]
    counts = select(_named(measure), *groups, func.count()).where(*within, calls.c[measure].is_not(None))
    columns = ["measure", "hour_at", *LATENCY_DIMENSIONS, "bucket", "calls"]
    connection.execute(insert(latency_rollups).from_select(columns, counts.group_by(*groups)))


def _regroup(connection: Connection, tables: tuple[Table, Table], sums: list[str]) -> None:
    """Sum the rows of one rollup into a coarser one."""
    source, target = tables
    names = [column.name for column in target.primary_key]
    groups = [_day(source) if name == "day_at" else source.c[name] for name in names]
    rows = select(*groups, *sums_of(source, tuple(sums))).group_by(*groups)
    connection.execute(insert(target).from_select([*names, *sums], rows))


def _named(name: str) -> ColumnElement[Any]:
    return literal_column(f"'{name}'").label("name")


def _day(table: Table) -> ColumnElement[int]:
    return (table.c.hour_at - table.c.hour_at % literal_column(str(DAY_MS))).label("day_at")


def _hour() -> ColumnElement[Any]:
    return (calls.c.started_at - calls.c.started_at % literal_column(str(HOUR_MS))).label("hour_at")


def _copy_patterns(connection: Connection, plan: Plan, day: int) -> str:
    """INSERT … SELECT: a call is a pattern at its time, with an id, a session, a trace and a user of its own."""
    count, before = plan.of_day(day), sum(map(plan.of_day, range(day)))
    at, number = f"({plan.start_at + day * DAY_MS} + m * {DAY_MS} / {max(count, 1)})", f"(m + {before})"
    if connection.dialect.name == "sqlite":
        series = f"WITH RECURSIVE series(m) AS (SELECT 0 UNION ALL SELECT m + 1 FROM series WHERE m + 1 < {count})"
        hexed = f"printf('%012x%020x', {at}, {number})"
    else:
        series = f"WITH series AS (SELECT generate_series(CAST(0 AS BIGINT), {count - 1}) AS m)"
        hexed = f"lpad(to_hex({at}), 12, '0') || lpad(to_hex({number}), 20, '0')"
    parts = [
        "substr(h, 1, 8)",
        "substr(h, 9, 4)",
        "'7' || substr(h, 14, 3)",
        "'8' || substr(h, 18, 3)",
        "substr(h, 21)",
    ]
    own = {
        "id": " || '-' || ".join(parts),
        "started_at": at,
        "session_id": f"'session-' || ({number} / 5)",
        "trace_id": f"'trace-' || {number}",
        "user": f"'user-' || ((m * 7907 % 10007) * (m * 7907 % 10007) * {plan.users} / 100140049)",
    }
    names = ", ".join(f'"{column.name}"' for column in calls.c)
    values = ", ".join(own.get(column.name, f'patterns."{column.name}"') for column in calls.c)
    numbered = f"SELECT m, {hexed} AS h FROM series WHERE m < {count}"
    place = f"(m * 1031 + m / {PATTERNS} * 7) % {PATTERNS}"
    return (
        f"INSERT INTO calls ({names}) {series} SELECT {values} FROM ({numbered}) AS numbered "
        f"JOIN patterns ON patterns.place = {place}"
    )


def _write_patterns(connection: Connection, plan: Plan) -> None:
    kinds = ", ".join(f'"{column.name}" {column.type.compile(connection.dialect)}' for column in calls.c)
    connection.exec_driver_sql(f"CREATE TABLE patterns (place BIGINT PRIMARY KEY, {kinds})")
    chance = random.Random(plan.seed)
    rows = [{"place": place, **fabricate_call(chance, plan.keys)} for place in range(PATTERNS)]
    names = ", ".join(f'"{name}"' for name in rows[0])
    connection.execute(
        text(f"INSERT INTO patterns ({names}) VALUES ({', '.join(':' + each for each in rows[0])})"), rows
    )


def _key(number: int, plan: Plan) -> dict[str, Any]:
    empty = {"scopes": "[]", "models": "[]", "attribution": "{}", "tenant": "default", "prefix": f"gov-{number:04d}"}
    return {
        "id": f"key-{number}",
        "hash": f"{number:064d}",
        "name": f"Key {number}",
        "created_at": plan.start_at,
        **empty,
    }

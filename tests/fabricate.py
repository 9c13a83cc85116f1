"""Large ledgers made quickly: a few thousand patterns multiplied inside the database, and the rollups of the result."""

from __future__ import annotations

import json
import math
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

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PATTERNS = 4099  # a prime, so that walking through them in steps visits each

MODELS = {
    "gpt-4o": ("openai", 2_500_000_000, 10_000_000_000),
    "gpt-4o-mini": ("openai", 150_000_000, 600_000_000),
    "gpt-4.1": ("openai", 2_000_000_000, 8_000_000_000),
    "gpt-4.1-nano": ("openai", 100_000_000, 400_000_000),
    "claude-sonnet-4-5": ("anthropic", 3_000_000_000, 15_000_000_000),
    "claude-haiku-4-5": ("anthropic", 1_000_000_000, 5_000_000_000),
    "gemini-2.5-flash": ("vertex_ai", 300_000_000, 2_500_000_000),
    "text-embedding-3-small": ("openai", 20_000_000, 0),
    "llama-3.3-70b": ("vllm", 0, 0),
    "house-model": ("vllm", None, None),
}
"""Provider and rates in nano-dollars per million tokens; none: nobody has priced it."""

FEATURES = ["search", "chat", "summaries", "extraction", "support", "translation", "code-review", "triage"]
DEPARTMENTS = ["product", "support", "research", "finance", "legal"]
ENVIRONMENTS = ["production", "production", "production", "staging", "development"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many calls, over how many days up to ``end_at`` (epoch ms), by how many users and keys."""

    calls: int
    days: int = 90
    end_at: int = 1_790_000_000_000
    users: int = 2_000
    keys: int = 30
    seed: int = 7

    @property
    def start_at(self) -> int:
        return self.end_at - self.days * DAY_MS


def fabricate(engine: Engine, plan: Plan) -> None:
    """Fill an empty database with calls, their rollups and their keys."""
    metadata.create_all(engine)
    with writing(engine) as connection:
        _write_patterns(connection, plan)
        connection.execute(insert(keys), [_key(number, plan) for number in range(plan.keys)])
    days_each = max(1, 500_000 * plan.days // max(plan.calls, 1))
    for day in range(0, plan.days, days_each):
        with writing(engine) as connection:
            start_at, end_at = (plan.start_at + min(each, plan.days) * DAY_MS for each in (day, day + days_each))
            first, last = (-(-(at - plan.start_at) * plan.calls // (plan.days * DAY_MS)) for at in (start_at, end_at))
            connection.execute(text(_copy_patterns(connection, plan)), {"first": first, "last": last})
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP TABLE patterns")
    fill_rollups(engine)


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


def _copy_patterns(connection: Connection, plan: Plan) -> str:
    """INSERT … SELECT: call number n is a pattern at n's time, with an id, a session, a trace and a user of its own."""
    at = f"({plan.start_at} + n * {plan.days * DAY_MS} / {plan.calls})"
    if connection.dialect.name == "sqlite":
        series = "WITH RECURSIVE series(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM series WHERE n + 1 < :last)"
        hexed = f"printf('%012x%020x', {at}, n)"
    else:
        series = "WITH series AS (SELECT generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT) - 1) AS n)"
        hexed = f"lpad(to_hex({at}), 12, '0') || lpad(to_hex(n), 20, '0')"
    parts = (
        "substr(h, 1, 8)",
        "substr(h, 9, 4)",
        "'7' || substr(h, 14, 3)",
        "'8' || substr(h, 18, 3)",
        "substr(h, 21)",
    )
    own = {
        "id": " || '-' || ".join(parts),
        "started_at": at,
        "session_id": "'session-' || (n / 5)",
        "trace_id": "'trace-' || n",
        "user": f"'user-' || ((n * 7907 % 10007) * (n * 7907 % 10007) * {plan.users} / 100140049)",
    }
    names = ", ".join(f'"{column.name}"' for column in calls.c)
    values = ", ".join(own.get(column.name, f'patterns."{column.name}"') for column in calls.c)
    numbered = f"SELECT n, {hexed} AS h FROM series WHERE n < :last"
    place = f"(n * 1031 + n / {PATTERNS} * 7) % {PATTERNS}"
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


def fabricate_call(chance: random.Random, key_count: int = 30) -> dict[str, Any]:
    """The columns of one closed call, as a gateway might have written them, but for its time and id."""
    key = int(key_count * chance.random() ** 2)
    model = list(MODELS)[(key + int(3 * chance.random() ** 2)) % len(MODELS)]
    provider, input_rate, output_rate = MODELS[model]
    row: dict[str, Any] = {column.name: None for column in calls.c}
    row |= {
        "id": "",
        "started_at": 0,
        "worker": "fabricated",
        "endpoint": "embeddings" if "embedding" in model else "chat.completions",
        "origin": "user" if chance.random() < 0.97 else "judge",
        "tenant": "default",
        "key_id": f"key-{key}",
        "feature": FEATURES[(key + int(2 * chance.random())) % len(FEATURES)],
        "department": DEPARTMENTS[key % len(DEPARTMENTS)],
        "environment": ENVIRONMENTS[key % len(ENVIRONMENTS)],
        "model": model,
        "provider": provider,
        "deployment": f"{model}-{'a' if chance.random() < 0.7 else 'b'}",
        "served_model": model,
        "stream": chance.random() < 0.6,
        "rule": "default",
        "route_reason": "the first of its deployments",
        "propensity": 1.0,
        "settings_version": 1,
        "tags": json.dumps({"release": f"2026.{chance.randrange(1, 9)}"}),
    }
    return row | _outcome(chance, input_rate, output_rate)


def _outcome(chance: random.Random, input_rate: int | None, output_rate: int | None) -> dict[str, Any]:
    fate = chance.random()
    if fate < 0.004:
        return {
            "status": "refused",
            "state": "failed",
            "error_code": "invalid_key",
            "http_status": 401,
            "attempts": 0,
            "cost_nusd": 0,
            "overhead_ms": 0.2,
            "latency_ms": 0.3,
        }
    if fate < 0.02:
        return {
            "status": "failed",
            "state": "failed",
            "error_code": "upstream_timeout",
            "http_status": 504,
            "attempts": 2,
            "cost_nusd": 0,
            "overhead_ms": 0.6,
            "latency_ms": 30_000.0,
            "cache_kind": "miss",
        }
    prompt, completion = int(chance.lognormvariate(6.5, 1.1)), int(chance.lognormvariate(4.6, 0.9))
    cached = prompt // 2 if chance.random() < 0.2 else 0
    full = (
        None if input_rate is None or output_rate is None else (prompt * input_rate + completion * output_rate) // 10**6
    )
    hit = chance.random() < 0.18
    saved = full if hit else 0
    return {
        "status": "cancelled" if fate < 0.03 else "ok",
        "state": "estimated" if fate < 0.05 else "settled",
        "usage_source": "estimated" if fate < 0.05 else "provider",
        "http_status": 200,
        "attempts": 0 if hit else 1,
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": completion,
        "cost_nusd": 0 if hit else full,
        "baseline_nusd": full,
        "saved_nusd": saved,
        "saved_cache_nusd": saved,
        "price_id": None if full is None else "price-fabricated",
        "usage": json.dumps(
            {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        ),
        "finish_reason": "stop",
        "cache_kind": "exact" if hit else chance.choice(["miss", "miss", "miss", "bypass"]),
        **_durations(chance, completion, hit=hit),
    }


def _durations(chance: random.Random, completion: int, *, hit: bool) -> dict[str, float]:
    overhead = chance.lognormvariate(math.log(0.35), 0.4)
    if hit:
        return {"overhead_ms": overhead, "ttft_ms": overhead, "latency_ms": overhead * 1.2, "queue_ms": 0.0}
    ttft, itl = chance.lognormvariate(math.log(320), 0.5), chance.lognormvariate(math.log(14), 0.3)
    return {
        "overhead_ms": overhead,
        "ttft_ms": ttft,
        "itl_ms": itl,
        "latency_ms": ttft + itl * completion,
        "queue_ms": 0.0,
    }

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from backend.ledger.tally import bucket_of
from db.bounded import Connection
from db.engine import reading, writing
from db.rollup_reads import Grouping, latency_source_of, read_latency, read_sums, source_of
from db.tables import LATENCY_MEASURES, MEASURES, ROLLUP_DIMENSIONS, metadata
from db.windows import DAY_MS, HOUR_MS, MINUTE_MS, Narrowing, Window
from tests.fabricate import fill_rollups
from tests.reports.ledgers import END_AT, Row, matching, measures_of, random_rows, write_calls

ROWS = random_rows(700)
DIMENSIONS = [*ROLLUP_DIMENSIONS, "user"]
ROLLUPS = [name for name in metadata.tables if "rollups" in name or "totals" in name]

values = {name: sorted({row[name] or "" for row in ROWS if row["state"] != "open"}) for name in DIMENSIONS}


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start_at = END_AT - draw(st.integers(0, 45 * DAY_MS))
    end_at = start_at + draw(st.integers(0, 45 * DAY_MS))
    names = draw(st.lists(st.sampled_from(DIMENSIONS), max_size=2, unique=True))
    chosen = {name: tuple(draw(st.lists(st.sampled_from([*values[name], "nobody"]), min_size=1))) for name in names}
    return Window(start_at, end_at, chosen)


groupings = st.builds(
    Grouping,
    st.lists(st.sampled_from(DIMENSIONS), max_size=2, unique=True).map(tuple),
    st.sampled_from([None, MINUTE_MS, HOUR_MS, DAY_MS]),
    st.lists(st.sampled_from(MEASURES), min_size=1, unique=True).map(tuple),
)


def group_of(row: Row, by: Grouping) -> tuple[Any, ...]:
    at = 0 if by.bucket_ms is None else row["started_at"] - row["started_at"] % by.bucket_ms
    return (at, *(row[name] or "" for name in by.dimensions))


def expected(rows: list[Row], by: Grouping) -> dict[tuple[Any, ...], dict[str, int]]:
    ordered = sorted(rows, key=lambda row: group_of(row, by))
    groups = {key: measures_of(group) for key, group in groupby(ordered, lambda row: group_of(row, by))}
    wanted = {key: {name: sums[name] for name in by.measures} for key, sums in groups.items()}
    return {key: sums for key, sums in wanted.items() if any(sums.values())}


@pytest.fixture
def filled(engine: Engine) -> Engine:
    write_calls(engine, ROWS)
    return engine


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=windows(), by=groupings)
def test_sums_equal_those_over_the_rows(filled: Engine, window: Window, by: Grouping) -> None:
    with reading(filled) as connection:
        found = read_sums(connection, window, by)
    assert {(each.at or 0, *each.values): dict(each.measures) for each in found} == expected(matching(ROWS, window), by)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=windows(), by=groupings, measure=st.sampled_from(LATENCY_MEASURES))
def test_latency_counts_equal_those_over_the_rows(filled: Engine, window: Window, by: Grouping, measure: str) -> None:
    counted: dict[tuple[Any, ...], dict[int, int]] = {}
    for row in matching(ROWS, window):
        if row[measure] is not None:
            counts = counted.setdefault(group_of(row, by), {})
            counts[bucket_of(row[measure])] = counts.get(bucket_of(row[measure]), 0) + 1
    with reading(filled) as connection:
        found = read_latency(connection, window, measure, by)
    assert {(each.at or 0, *each.values): dict(each.counts) for each in found} == counted


def read_all(connection: Connection, name: str) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in connection.execute(select(metadata.tables[name]))}


def test_summing_the_calls_in_sql_gives_what_the_drainer_adds_one_by_one(filled: Engine) -> None:
    with writing(filled) as connection:
        drained = {name: read_all(connection, name) for name in ROLLUPS}
        for name in ROLLUPS:
            connection.execute(metadata.tables[name].delete())
    fill_rollups(filled)
    with reading(filled) as connection:
        assert {name: read_all(connection, name) for name in ROLLUPS} == drained


@pytest.mark.parametrize(
    ("filters", "by", "source"),
    [
        ({}, (), "dimension_rollups"),
        ({}, ("user",), "dimension_rollups"),
        ({"model": ("m",)}, ("model",), "dimension_rollups"),
        ({"model": ("m",)}, ("key_id",), "rollups"),
        ({"user": ("u",)}, ("model",), "calls"),
        ({"rule": ("r",), "status": ("ok",)}, ("origin",), "rollups"),
        ({"user": ("u",), "rule": ("r",)}, (), "calls"),
    ],
)
def test_the_smallest_table_that_knows_answers(
    filters: dict[str, tuple[str, ...]], by: tuple[str], source: str
) -> None:
    assert source_of(Window(0, 1, filters), by) == source


def test_conditions_on_single_calls_are_answered_by_the_calls() -> None:
    window = Window(0, 1, narrowing=Narrowing(min_cost_nusd=5))
    assert source_of(window, ()) == latency_source_of(window, ()) == "calls"


def test_an_empty_ledger_has_no_groups(engine: Engine) -> None:
    with reading(engine) as connection:
        assert read_sums(connection, Window(0, END_AT), Grouping(("model",), DAY_MS)) == []
        assert read_latency(connection, Window(0, END_AT), "ttft_ms", Grouping()) == []


def test_a_call_taken_back_leaves_no_empty_group(engine: Engine) -> None:
    (row,) = random_rows(1, seed=3)
    write_calls(engine, [row])
    with writing(engine) as connection:
        for name in ROLLUPS:
            table = metadata.tables[name]
            zero = {column.name: 0 for column in table.c if not column.primary_key}
            connection.execute(table.update().values(zero))
    with reading(engine) as connection:
        assert read_sums(connection, Window(0, END_AT), Grouping(("model",))) == []


def test_a_value_the_rollups_cut_is_found_in_the_calls_by_its_beginning(engine: Engine) -> None:
    rows = random_rows(3, seed=5)
    for row, user in zip(rows, ["x" * 200, "x" * 90, "y" * 200], strict=True):
        row.update(user=user, state="settled", status="ok")
    rows[0]["started_at"] = END_AT - 1  # in the hour that is read from the calls
    rows[2]["started_at"] = END_AT - 9 * DAY_MS
    write_calls(engine, rows)
    with reading(engine) as connection:
        users = [each.values[0] for each in read_sums(connection, Window(0, END_AT), Grouping(("user",)))]
        assert [len(user) for user in users] == [90, 120, 120]
        (cut,) = [user for user in users if user.startswith("x") and "…" in user]
        by_name = [read_sums(connection, Window(0, END_AT, {"user": (each,)}), Grouping()) for each in (cut, "x" * 200)]
        assert by_name[0] == by_name[1] != []
        window = Window(0, END_AT, {"user": (cut,), "rule": tuple({row["rule"] for row in rows})})
        assert [each.measures["calls"] for each in read_sums(connection, window, Grouping(measures=("calls",)))] == [1]

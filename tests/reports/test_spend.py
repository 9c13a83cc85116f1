from __future__ import annotations

import pandas as pd
import pytest
from sqlalchemy import Engine, insert

from backend.reports.filters import DIMENSIONS, Scope, make_scope
from backend.reports.ledger import Ledger
from backend.reports.spend import MEASURES, TOP, over_time, spend_by
from db.engine import writing
from db.tables import keys
from db.windows import HOUR_MS
from tests.reports.ledgers import DAY_MS, END_AT, Row, matching, measures_of, random_rows, write_calls

MONTH = make_scope(END_AT - 41 * DAY_MS, END_AT)
SCOPES = [
    MONTH,
    make_scope(END_AT - 5 * DAY_MS, END_AT, {"model": ("gpt-4o", "gpt-4.1", "")}),
    make_scope(END_AT - 2 * HOUR_MS, END_AT),
    make_scope(END_AT - 30 * DAY_MS, END_AT - 20 * DAY_MS, {"user": ("ann", ""), "status": ("ok",)}),
]


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("scope", SCOPES, ids=["month", "filtered", "hours", "by call"])
def test_a_table_adds_up_to_the_nano_dollar(ledger: Ledger, rows: list[Row], dimension: str, scope: Scope) -> None:
    table, wanted = spend_by(ledger, scope, dimension), matching(rows, scope.window)
    frame, sums = table.frame, measures_of(wanted)
    assert table.totals.cost_nusd == sums["cost_nusd"] == frame["cost_nusd"].fillna(0).sum()
    assert table.rest == 0
    for name in ("calls", "failed", "unpriced", "estimated", "prompt_tokens", "completion_tokens", "saved_nusd"):
        assert frame[name].sum() == getattr(table.totals, name) == sums[name]
    assert set(frame["value"]) == {row[dimension] or "" for row in wanted}
    for line in frame.to_dict("records"):
        assert sum(line["series"]) == (0 if pd.isna(line["cost_nusd"]) else line["cost_nusd"])
        assert len(line["series"]) == len(scope.buckets)


def test_a_value_without_any_price_has_an_unknown_cost_not_zero(sqlite: Engine, small: Ledger) -> None:
    priced, free, unknown = random_rows(3, seed=9)
    closed = {"state": "settled", "status": "ok"}
    priced.update(model="priced", cost_nusd=7, **closed)
    free.update(model="free", cost_nusd=0, **closed)
    unknown.update(model="unknown", cost_nusd=None, **closed)
    write_calls(sqlite, [priced, free, unknown])
    frame = spend_by(small, MONTH, "model").frame.set_index("value")
    assert (frame.loc["priced", "cost_nusd"], frame.loc["free", "cost_nusd"]) == (7, 0)
    assert frame.loc["unknown", "cost_nusd"] is pd.NA
    assert frame.loc["unknown", "per_1k_calls_nusd"] is pd.NA
    assert frame["unpriced"].to_dict() == {"priced": 0, "free": 0, "unknown": 1}


def test_the_dearest_come_first_and_the_rest_is_counted(ledger: Ledger, rows: list[Row]) -> None:
    table = spend_by(ledger, MONTH, "feature", limit=2)
    costs: dict[str, int] = {}
    for row in matching(rows, MONTH.window):
        costs[row["feature"] or ""] = costs.get(row["feature"] or "", 0) + (row["cost_nusd"] or 0)
    assert table.frame["value"].tolist() == sorted(costs, key=lambda value: -costs[value])[:2]
    assert table.rest == len(costs) - 2
    assert table.totals.cost_nusd == sum(costs.values())
    assert table.frame["share"].tolist() == [costs[each] / sum(costs.values()) for each in table.frame["value"]]


def test_drilling_down_narrows_to_the_row(ledger: Ledger) -> None:
    outer = spend_by(ledger, MONTH, "department").frame.iloc[0]
    inner = spend_by(ledger, MONTH.narrowed("department", outer["value"]), "key_id")
    assert inner.totals.cost_nusd == outer["cost_nusd"]
    assert inner.totals.calls == outer["calls"]


def test_keys_are_shown_by_name_and_joined_by_id(sqlite: Engine, small: Ledger) -> None:
    row = random_rows(1, seed=2)[0] | {"key_id": "k-1", "state": "settled", "status": "ok"}
    write_calls(sqlite, [row])
    names = {"name": "Checkout", "prefix": "gov-1", "tenant": "t", "scopes": "[]", "models": "[]", "attribution": "{}"}
    with writing(sqlite) as connection:
        connection.execute(insert(keys).values(id="k-1", hash="h", created_at=0, **names))
    line = spend_by(small, MONTH, "key_id").frame.iloc[0]
    assert (line["value"], line["name"]) == ("k-1", "Checkout")


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dimension", [None, "model", "feature", "user", "rule"])
def test_a_chart_over_time_sums_to_the_whole(
    ledger: Ledger, rows: list[Row], dimension: str | None, measure: str
) -> None:
    chart, wanted = over_time(ledger, MONTH, dimension, measure), matching(rows, MONTH.window)
    assert chart.frame["value"].sum() == measures_of(wanted)[measure]
    assert chart.unpriced == measures_of(wanted)["unpriced"]
    by_day = chart.frame.groupby("at")["value"].sum()
    assert by_day.index.tolist() == list(MONTH.buckets)
    for at in MONTH.buckets[-5:]:
        day = [row for row in wanted if at <= row["started_at"] < at + DAY_MS]
        assert by_day[at] == measures_of(day)[measure]


def test_a_chart_names_the_largest_and_folds_the_rest(sqlite: Engine, small: Ledger) -> None:
    rows = random_rows(12, days=3)
    for number, row in enumerate(rows):
        row.update(state="settled", status="ok", feature=f"f{number:02}", cost_nusd=1000 - number)
    write_calls(sqlite, rows)
    chart = over_time(small, MONTH, "feature")
    assert chart.groups == (*(f"f{number:02}" for number in range(TOP)), "Other")
    folded = chart.frame[chart.frame["group"] == "Other"]["value"].sum()
    assert folded == sum(1000 - number for number in range(TOP, 12))


def test_an_empty_ledger_has_empty_tables(empty: Ledger) -> None:
    table = spend_by(empty, MONTH, "model")
    assert (len(table.frame), table.totals.cost_nusd, table.totals.spend_nusd) == (0, 0, 0)
    chart = over_time(empty, MONTH, "model")
    assert (len(chart.frame), chart.groups) == (0, ())


def test_a_ledger_can_hold_more_nano_dollars_than_a_float(sqlite: Engine, small: Ledger) -> None:
    rows = random_rows(3, seed=4)
    for row in rows:
        row.update(state="settled", status="ok", model="dear", cost_nusd=2**52 + 1)
    write_calls(sqlite, rows)
    table = spend_by(small, MONTH, "model")
    assert table.totals.cost_nusd == 3 * (2**52 + 1)
    assert table.frame["cost_nusd"].tolist() == [3 * (2**52 + 1)]
    assert over_time(small, MONTH, "model").frame["value"].sum() == 3 * (2**52 + 1)

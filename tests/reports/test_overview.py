from __future__ import annotations

import pytest
from sqlalchemy import Engine

from backend.reports.filters import Scope, make_scope, preset_scope
from backend.reports.ledger import Ledger
from backend.reports.overview import OWN_ORIGINS, read_kpis, read_latency_course, read_ranked
from db.windows import Window
from tests.reports.ledgers import DAY_MS, END_AT, Row, matching, measures_of, quantile_of, random_rows, write_calls

SCOPES = [preset_scope("24h", now_at=END_AT), preset_scope("7d", now_at=END_AT), preset_scope("30d", now_at=END_AT)]


def of_callers(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["origin"] not in OWN_ORIGINS]


@pytest.mark.parametrize("scope", SCOPES, ids=["24h", "7d", "30d"])
@pytest.mark.parametrize("filters", [{}, {"model": ("gpt-4o", "")}, {"user": ("ann",)}, {"rule": ("long",)}])
def test_figures_equal_those_over_the_rows(
    ledger: Ledger, rows: list[Row], scope: Scope, filters: dict[str, tuple[str, ...]]
) -> None:
    for name, values in filters.items():
        scope = scope.narrowed(name, *values)
    kpis, wanted = read_kpis(ledger, scope), matching(rows, scope.window)
    sums, asked = measures_of(wanted), measures_of(of_callers(wanted))
    for figure, measure in (("saved", "saved_nusd"), ("unpriced", "unpriced")):
        assert kpis[figure].value == sums[measure]
    assert kpis["calls"].value == asked["calls"]
    assert kpis["spend"].value == sums["cost_nusd"]
    assert kpis["error_rate"].value == (asked["failed"] / asked["calls"] if asked["calls"] else None)
    lookups = sums["cache_lookups"]
    assert kpis["hit_rate"].value == (sums["cache_hits"] / lookups if lookups else None)
    assert sum(each or 0 for each in kpis["spend"].series) == sums["cost_nusd"]
    assert len(kpis["spend"].series) == len(kpis.buckets)
    assert kpis.totals.calls == len(wanted)


@pytest.mark.parametrize("scope", SCOPES, ids=["24h", "7d", "30d"])
def test_latency_counts_every_answer(ledger: Ledger, rows: list[Row], scope: Scope) -> None:
    known = [row["latency_ms"] for row in matching(rows, scope.window) if row["latency_ms"] is not None]
    assert read_kpis(ledger, scope)["latency_p95"].value == pytest.approx(quantile_of(known, 0.95), rel=0.021)


def test_the_change_compares_with_as_much_of_the_period_before(ledger: Ledger, rows: list[Row]) -> None:
    scope = preset_scope("7d", now_at=END_AT)
    before = measures_of(of_callers(matching(rows, scope.previous)))
    figure = read_kpis(ledger, scope)["calls"]
    assert scope.previous.end_at == END_AT - 7 * DAY_MS
    assert figure.previous == before["calls"]
    assert figure.delta == pytest.approx((figure.value - before["calls"]) / before["calls"])  # type: ignore[operator]  # both are counts


def test_calls_of_governors_own_count_as_money_not_as_calls_unless_they_are_asked_for(
    sqlite: Engine, small: Ledger
) -> None:
    rows = random_rows(12, days=0.5)
    for number, row in enumerate(rows):
        row |= {"origin": (*OWN_ORIGINS, "user")[number % 4], "status": "failed", "state": "settled", "cost_nusd": 5}
    write_calls(sqlite, rows)
    scope = preset_scope("24h", now_at=END_AT)
    kpis = read_kpis(small, scope)
    assert (kpis["calls"].value, kpis["error_rate"].value, kpis["spend"].value) == (3, 1.0, 60)
    assert read_kpis(small, scope.narrowed("origin", "judge"))["calls"].value == 3


def test_without_a_baseline_there_is_no_change(ledger: Ledger, sqlite: Engine, small: Ledger) -> None:
    scope = preset_scope("7d", now_at=END_AT)
    not_wanted = make_scope(scope.start_at, scope.end_at, compare=False)
    assert read_kpis(ledger, not_wanted)["spend"].delta is None
    write_calls(sqlite, random_rows(30, days=9))  # began two days before the range: a week cannot be compared
    assert {figure.delta for figure in read_kpis(small, scope).figures} == {None}


def test_calls_without_a_price_make_the_spend_unknown(sqlite: Engine, small: Ledger) -> None:
    rows = random_rows(5, days=0.5)
    for row in rows:
        row.update(state="settled", status="ok", cost_nusd=None)
    write_calls(sqlite, rows)
    kpis = read_kpis(small, preset_scope("24h", now_at=END_AT))
    assert kpis["spend"].value is None
    assert kpis["unpriced"].value == 5


def test_savings_are_split_by_lever(ledger: Ledger, rows: list[Row]) -> None:
    scope = preset_scope("30d", now_at=END_AT)
    kpis, sums = read_kpis(ledger, scope), measures_of(matching(rows, scope.window))
    assert kpis.saved_by["Cache"] == sums["saved_cache_nusd"]
    assert kpis.saved_by["Routing"] == 0


def test_an_empty_ledger_shows_no_figure_as_zero_percent(empty: Ledger) -> None:
    kpis = read_kpis(empty, preset_scope("24h", now_at=END_AT))
    assert (kpis["calls"].value, kpis["spend"].value) == (0, 0)
    assert {kpis[name].value for name in ("error_rate", "hit_rate", "latency_p95", "ttft_p95")} == {None}
    assert read_latency_course(kpis)["latency_p95"].isna().all()


def test_rankings_show_what_costs_most(ledger: Ledger, rows: list[Row]) -> None:
    scope = preset_scope("30d", now_at=END_AT)
    ranked = read_ranked(ledger, scope, "model", 3)
    assert len(ranked.frame) == 3
    costs = ranked.frame["cost_nusd"].tolist()
    assert costs == sorted(costs, reverse=True)
    dearest = Window(scope.start_at, scope.end_at, {"model": (ranked.frame["value"].iloc[0],)})
    assert costs[0] == measures_of(matching(rows, dearest))["cost_nusd"]

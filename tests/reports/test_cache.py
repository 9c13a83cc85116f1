"""What the caches saved: counted per kind, net of what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from backend.reports.cache import hit_rates_over_time, read_savings
from backend.reports.filters import Scope, make_scope
from backend.reports.ledger import Ledger
from tests.reports.cache_samples import END_AT, START_AT, make_hit, make_row
from tests.reports.ledgers import DAY_MS, Row, ledger_of, matching, random_rows

DAY = Scope(START_AT, END_AT)
REACHED = {"cache_probability": 0.99, "similarity_threshold": 0.98, "similarity": 0.9}


@pytest.fixture
def day(engine: Engine, tmp_path: Path) -> Ledger:
    rows = [make_row(number) for number in range(10)]
    rows += [make_hit(number, "exact") for number in range(10, 14)]
    rows += [make_hit(14, "semantic", **REACHED), make_hit(15, "coalesced", latency_ms=400.0)]
    rows += [make_row(16, **REACHED), make_row(17, **REACHED, cost_nusd=None), make_row(18, cache_kind="bypass")]
    rows += [make_row(19, cache_kind="bypass", origin="embedding", cost_nusd=7, model="embedder")]
    rows += [make_row(20, cache_kind="bypass", origin="judge", cost_nusd=11, model="judge")]
    rows += [make_row(21, cache_kind="bypass", origin="warmup", cost_nusd=13)]
    return ledger_of(engine, tmp_path, rows)


def test_each_kind_is_a_share_of_the_look_ups(day: Ledger) -> None:
    found = read_savings(day, DAY)
    assert found.lookups == 18
    assert found.hits_by == {"exact": 4, "semantic": 1, "coalesced": 1}
    rates = [found.kpis[name].value for name in ("exact", "semantic", "coalesced")]
    assert rates == [4 / 18, 1 / 18, 1 / 18]


def test_money_is_net_of_governors_own_calls_and_of_would_be_hits_answered_fresh(day: Ledger) -> None:
    found = read_savings(day, DAY)
    assert found.saved_by == {"exact": 400, "semantic": 100, "coalesced": 100}
    costs = found.costs
    assert (costs.embedding_nusd, costs.judge_nusd, costs.prefetch_nusd) == (7, 11, 13)
    assert (costs.fresh_nusd, costs.verification_nusd, costs.verified) == (100, 111, 2)
    assert found.kpis["net"].value == 600 - 100 - 7 - 11 - 13
    assert found.kpis["tokens"].value == 6 * 40


def test_waiting_saved_is_what_misses_usually_take_beyond_the_hits_own_time(day: Ledger) -> None:
    saved_ms = read_savings(day, DAY).kpis["time"].value
    assert saved_ms == pytest.approx(5 * 999 + 600, rel=0.05)


def test_filters_apply_and_embedding_is_only_counted_where_it_passes(day: Ledger) -> None:
    found = read_savings(day, DAY.narrowed("model", "m"))
    assert (found.costs.embedding_nusd, found.lookups) == (0, 18)
    assert read_savings(day, DAY.narrowed("origin", "user")).costs.total_nusd == 100
    assert read_savings(day, DAY.narrowed("origin", "judge")).costs.total_nusd == 11
    assert read_savings(day, DAY.narrowed("model", "other")).kpis.totals.calls == 0


def test_rates_over_time_are_shares_of_each_buckets_look_ups(day: Ledger) -> None:
    over = hit_rates_over_time(day, DAY)
    assert over.groups == ("exact", "semantic", "coalesced")
    first = over.frame[over.frame["at"] == START_AT].set_index("group")["value"]
    assert first.to_dict() == {"exact": 4 / 18, "semantic": 1 / 18, "coalesced": 1 / 18}
    assert over.frame["value"].sum() == pytest.approx(6 / 18)
    assert over.source == "dimension_rollups"


def test_an_empty_ledger_has_no_rates(empty: Ledger) -> None:
    found = read_savings(empty, DAY)
    assert [found.kpis[name].value for name in ("exact", "net", "tokens", "time")] == [None, 0, 0, None]
    assert hit_rates_over_time(empty, DAY).groups == ()


@pytest.mark.parametrize("filters", [{}, {"model": ("gpt-4o",)}, {"user": ("ann", "bob")}])
def test_the_sums_are_those_of_the_calls(ledger: Ledger, rows: list[Row], filters: dict[str, tuple[str, ...]]) -> None:
    start_at = min(row["started_at"] for row in rows)
    scope = make_scope(start_at - DAY_MS, max(row["started_at"] for row in rows) + 1, filters)
    found, calls = read_savings(ledger, scope), matching(rows, scope.window)
    for kind in ("exact", "semantic", "coalesced"):
        mine = [row for row in calls if row["cache_kind"] == kind]
        assert found.hits_by[kind] == len(mine)
        assert found.saved_by[kind] == sum(row["saved_cache_nusd"] or 0 for row in mine)


def test_the_period_before_is_compared_where_the_ledger_reaches_back(engine: Engine, tmp_path: Path) -> None:
    rows = random_rows(300, days=4, end_at=END_AT)
    ledger = ledger_of(engine, tmp_path, rows)
    assert read_savings(ledger, Scope(END_AT - DAY_MS, END_AT)).kpis["exact"].previous is not None
    assert read_savings(ledger, Scope(END_AT - 9 * DAY_MS, END_AT)).kpis["exact"].previous is None

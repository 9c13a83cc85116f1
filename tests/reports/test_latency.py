from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.ledger.tally import bucket_of
from backend.reports.filters import make_scope
from backend.reports.latency import (
    MEASURES,
    Answers,
    Measure,
    answered_by,
    latency_by,
    latency_histogram,
    latency_over_time,
    latency_summary,
)
from backend.reports.ledger import Ledger
from backend.reports.percentiles import QUANTILES, percentiles_of
from db.windows import Window
from tests.reports.ledgers import DAY_MS, END_AT, Row, matching, quantile_of

MONTH = make_scope(END_AT - 41 * DAY_MS, END_AT)
HIT = ("exact", "semantic")


@given(st.lists(st.floats(0.001, 1e7), min_size=1, max_size=200))
def test_percentiles_are_right_within_two_percent(durations: list[float]) -> None:
    counts: dict[int, int] = {}
    for each in durations:
        counts[bucket_of(each)] = counts.get(bucket_of(each), 0) + 1
    found = percentiles_of(counts)
    assert found.calls == len(durations)
    for name, share in QUANTILES.items():
        assert getattr(found, name) == pytest.approx(quantile_of(durations, share), rel=0.02)


def test_without_calls_there_are_no_percentiles() -> None:
    assert percentiles_of({}).p50 is None


def known(rows: list[Row], measure: str, answers: Answers) -> list[float]:
    chosen = [row for row in rows if answers == "all" or (row["cache_kind"] in HIT) == (answers == "cache")]
    return [row[measure] for row in chosen if row[measure] is not None]


@pytest.mark.parametrize("answers", ["upstream", "cache", "all"])
@pytest.mark.parametrize("measure", MEASURES)
def test_cache_hits_are_kept_apart(ledger: Ledger, rows: list[Row], measure: Measure, answers: Answers) -> None:
    found = latency_summary(ledger, MONTH, answers)[measure]
    durations = known(matching(rows, MONTH.window), measure, answers)
    assert found.calls == len(durations)
    if durations:
        assert found.p95 == pytest.approx(quantile_of(durations, 0.95), rel=0.021)


@pytest.mark.parametrize("days", [0.1, 6, 41])
@pytest.mark.parametrize("filters", [{}, {"model": ("gpt-4o",)}, {"feature": ("search",)}, {"cache_kind": ("exact",)}])
def test_each_bucket_has_its_own_percentiles(
    ledger: Ledger, rows: list[Row], days: float, filters: dict[str, tuple[str, ...]]
) -> None:
    scope = make_scope(END_AT - int(days * DAY_MS), END_AT, filters)
    report = latency_over_time(ledger, scope, "latency_ms", "all")
    assert report.source == ("calls" if "feature" in filters else report.source)
    for line in report.frame.to_dict("records"):
        bucket = matching(rows, Window(line["at"], line["at"] + scope.bucket_ms, filters))
        durations = known(bucket, "latency_ms", "all")
        assert line["calls"] == len(durations)
        if durations:
            assert line["p50"] == pytest.approx(quantile_of(durations, 0.5), rel=0.021)
    assert report.frame["at"].tolist() == list(scope.buckets)


@pytest.mark.parametrize("dimension", ["model", "deployment", "provider", "key_id", "user", "cache_kind"])
def test_percentiles_by_any_dimension(ledger: Ledger, rows: list[Row], dimension: str) -> None:
    frame = latency_by(ledger, MONTH, dimension, "ttft_ms", "all").frame
    expected: dict[str, list[float]] = {}
    for row in matching(rows, MONTH.window):
        if row["ttft_ms"] is not None:
            expected.setdefault(row[dimension] or "", []).append(row["ttft_ms"])
    assert set(frame["value"]) == set(expected)
    assert frame["calls"].tolist() == sorted(frame["calls"], reverse=True)
    for line in frame.to_dict("records"):
        assert line["p99"] == pytest.approx(quantile_of(expected[str(line["value"])], 0.99), rel=0.021)


def test_the_histogram_holds_every_call_in_its_place(ledger: Ledger, rows: list[Row]) -> None:
    bars = latency_histogram(ledger, MONTH, "overhead_ms", "all").frame
    durations = known(matching(rows, MONTH.window), "overhead_ms", "all")
    assert bars["calls"].sum() == len(durations)
    assert bars["from_ms"].iloc[0] <= min(durations) * 1.0001
    assert bars["to_ms"].iloc[-1] >= max(durations) * 0.9999
    assert bars["to_ms"].tolist()[:-1] == bars["from_ms"].tolist()[1:]
    middle = bars.iloc[len(bars) // 2]
    inside = [each for each in durations if middle["from_ms"] <= each < middle["to_ms"]]
    assert middle["calls"] == len(inside)


def test_an_empty_ledger_has_no_latency(empty: Ledger) -> None:
    assert latency_summary(empty, MONTH)["latency_ms"].p95 is None
    assert latency_over_time(empty, MONTH, "latency_ms").frame["p95"].isna().all()
    assert len(latency_by(empty, MONTH, "model", "ttft_ms").frame) == 0
    assert len(latency_histogram(empty, MONTH, "ttft_ms").frame) == 0


def test_asking_for_hits_among_misses_finds_nothing(ledger: Ledger) -> None:
    window = answered_by(Window(0, END_AT, {"cache_kind": ("miss",)}), "cache")
    assert window.filters["cache_kind"] == ()
    assert latency_summary(ledger, MONTH.narrowed("cache_kind", "miss"), "cache")["ttft_ms"].calls == 0

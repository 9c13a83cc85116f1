"""Thresholds tried on recorded look-ups: what they would have hit, saved, and got wrong."""

from __future__ import annotations

import pytest

from backend.cache.semantic.forecast import Recorded, predict
from backend.reports import cache_traffic
from backend.reports.cache_traffic import NEAR, REFUSED, SERVED, forecast, read_nearness, thresholds
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from tests.reports.cache_samples import (
    END_AT,
    START_AT,
    make_hit,
    make_labels,
    make_row,
    write_calls,
    write_labels,
)

DAY = Scope(START_AT, END_AT)


def fill(ledger: Ledger) -> None:
    """Ten look-ups: four without a near question, three near misses, one refused, two served."""
    near = [(0.6, 300), (0.9, 200), (0.97, 100)]
    rows = [make_row(number) for number in range(4)]
    rows += [
        make_row(4 + place, cache_probability=probability, similarity=0.905, cost_nusd=cost, latency_ms=cost * 10.0)
        for place, (probability, cost) in enumerate(near)
    ]
    rows += [make_row(7, cache_probability=0.0, similarity=0.995, latency_ms=2_000.0)]
    rows += [make_hit(number, "semantic", cache_probability=0.995, similarity=1.0) for number in (8, 9)]
    rows += [make_row(10, cache_kind="bypass")]
    write_calls(ledger.database.engine, rows)


def test_the_outlook_is_that_of_predict_over_the_look_ups(small: Ledger) -> None:
    fill(small)
    labels = make_labels(400, wrong=4, probability=0.96)
    write_labels(small, *labels)
    found = forecast(small, DAY)
    assert (found.lookups, found.compared, found.labels, found.whole) == (10, 6, 400, True)
    recorded = [Recorded(0.995, 100, 1_000.0)] * 2
    recorded += [Recorded(0.97, 100, 1_000.0), Recorded(0.9, 200, 2_000.0), Recorded(0.6, 300, 3_000.0)]
    for threshold, hits in ((0.5, 5), (0.92414, 3), (0.98, 2), (0.99988, 0)):
        outlook = found.at(threshold)
        expected = predict(labels, recorded, outlook.threshold)
        assert (outlook.hits, outlook.hit_rate, outlook.saved_nusd) == (hits, hits / 10, expected.saved_nusd)
        assert (outlook.false_hit_rate, outlook.low, outlook.high) == (
            expected.false_hit_rate,
            expected.low,
            expected.high,
        )


def test_hits_already_served_take_the_time_of_a_usual_miss(small: Ledger) -> None:
    fill(small)
    assert forecast(small, DAY).at(0.98).saved_ms == pytest.approx(2 * 2_000.0)


def test_a_higher_threshold_never_hits_more(small: Ledger) -> None:
    fill(small)
    outlooks = forecast(small, DAY, (0.77,)).outlooks
    assert [each.hits for each in outlooks] == sorted((each.hits for each in outlooks), reverse=True)
    assert 0.77 in [each.threshold for each in outlooks]


def test_only_the_newest_are_read_and_shares_are_of_their_time(small: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(small)
    monkeypatch.setattr(cache_traffic, "MOST_COMPARED", 3)
    found = forecast(small, DAY)
    assert (found.compared, found.whole, found.since_at) == (3, False, START_AT + 7 * 60_000)
    assert (found.lookups, found.at(0.98).hit_rate) == (3, 2 / 3)


def test_filters_choose_the_look_ups(small: Ledger) -> None:
    fill(small)
    assert forecast(small, DAY.narrowed("model", "other")).compared == 0
    assert forecast(small, DAY.narrowed("model", "m")).compared == 6
    assert forecast(small, Scope(START_AT - 2, START_AT)).lookups == 0


def test_the_choice_of_thresholds_rises_and_keeps_what_is_in_force() -> None:
    found = thresholds((0.4321, 0.9801))
    assert found == sorted(set(found))
    assert found[0] == 0.5
    assert 0.9801 in found
    assert 0.4321 not in found


def test_nearness_keeps_the_gates_refusals_apart(small: Ledger) -> None:
    fill(small)
    similarity = read_nearness(small, DAY, "similarity").frame
    sums = similarity.groupby("outcome")["calls"].sum().to_dict()
    assert sums == {SERVED: 2, NEAR: 3, REFUSED: 1}
    top = similarity[similarity["calls"] > 0].set_index("outcome")
    assert (top.loc[NEAR, "start"], top.loc[NEAR, "end"]) == (0.9, 0.91)
    assert (top.loc[SERVED, "start"], top.loc[REFUSED, "start"]) == (0.99, 0.99)
    probability = read_nearness(small, DAY, "probability").frame
    assert probability.groupby("outcome")["calls"].sum().to_dict() == {SERVED: 2, NEAR: 3, REFUSED: 0}
    assert read_nearness(small, DAY.narrowed("model", "other"), "similarity").frame.empty

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.call import Entry
from backend.ledger.tally import DAY_MS, HOUR_MS, Tally, bucket_of
from db.failures import RowsRefused
from db.measures import LONGEST_VALUE
from db.tables import MEASURES, ROLLUP_DIMENSIONS
from tests.ledger.samples import call_values, finish, make_attempt, make_entry

AT = 20_000 * DAY_MS + 5 * HOUR_MS + 17


def tally_of(*entries: Entry) -> Tally:
    tally = Tally()
    for entry in entries:
        tally.add(call_values(entry))
    return tally


def measure(amounts: tuple[int, ...], name: str) -> int:
    return amounts[MEASURES.index(name)]


def test_two_calls_of_one_kind_are_one_sum() -> None:
    one, two = (make_entry("w", started_at=AT + n, model="m", user="u", feature=None) for n in (0, 1))
    for entry in (one, two):
        entry.deployment = "d"
        finish(entry, make_attempt(entry))
    sums = tally_of(one, two).sums()
    ((key, amounts),) = sums["rollups"].items()
    assert key[0] == AT - AT % HOUR_MS
    assert key[1 + ROLLUP_DIMENSIONS.index("feature")] == ""
    assert measure(amounts, "calls") == 2
    assert measure(amounts, "cost_nusd") == (one.cost_nusd or 0) + (two.cost_nusd or 0)
    ((day_key, day_amounts),) = sums["daily_rollups"].items()
    assert (day_key[0], day_amounts) == (AT - AT % DAY_MS, amounts)


def test_single_dimensions_sum_to_the_whole() -> None:
    entries = [make_entry("w", started_at=AT, model=f"m{n % 3}", user=f"u{n % 5}", feature="f") for n in range(30)]
    sums = tally_of(*entries).sums()["dimension_rollups"]
    for dimension in ("", "user", *ROLLUP_DIMENSIONS):
        assert sum(measure(amounts, "calls") for key, amounts in sums.items() if key[0] == dimension) == 30


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        ({"status": "failed", "state": "failed", "cost_nusd": 0}, {"failed"}),
        ({"status": "refused", "state": "failed", "cost_nusd": 0}, {"refused"}),
        ({"status": "cancelled", "state": "estimated", "cost_nusd": 5}, {"cancelled", "estimated"}),
        ({"status": "ok", "state": "settled", "cost_nusd": None}, {"unpriced"}),
        ({"status": "ok", "state": "settled", "cost_nusd": 0}, set()),
    ],
)
def test_outcomes_are_counted_and_unknown_money_is_no_zero(values: dict[str, Any], counted: set[str]) -> None:
    (amounts,) = tally_of(make_entry("w", **values)).sums()["rollups"].values()
    assert {name for name in MEASURES[1:6] if measure(amounts, name)} == counted


def test_taking_back_leaves_nothing() -> None:
    entry = make_entry("w")
    finish(entry, make_attempt(entry))
    tally = tally_of(entry)
    tally.take_back(call_values(entry))
    assert {amount for sums in tally.sums().values() for amounts in sums.values() for amount in amounts} == {0}


def test_latencies_are_counted_where_they_are_known() -> None:
    entry = make_entry("w", started_at=AT, ttft_ms=120.0, latency_ms=900.0, cache_kind="miss")
    sums = tally_of(entry).sums()
    assert {key[0] for key in sums["latency_rollups"]} == {"ttft_ms", "latency_ms"}
    hour_at = AT - AT % HOUR_MS
    assert sums["latency_totals"]["ttft_ms", hour_at, "miss", bucket_of(120.0)] == (1,)


@given(st.floats(min_value=0, max_value=1e9))
def test_a_bucket_is_right_within_four_percent(duration_ms: float) -> None:
    low = 1.04 ** bucket_of(duration_ms)
    assert low * 0.999_999 <= max(duration_ms, 0.001) <= low * 1.04 * 1.000_001


def test_the_bucket_of_no_time_at_all_is_the_smallest() -> None:
    assert bucket_of(0.0) == bucket_of(-1.0) == math.floor(math.log(0.001) / math.log(1.04))


def test_long_names_get_a_short_key_of_their_own() -> None:
    entries = [make_entry("w", feature="f" * 255 + letter, model="m", user="u") for letter in "ab"]
    for entry in entries:
        entry.deployment = "d"
    keys = list(tally_of(*entries).sums()["rollups"])
    assert len(keys) == 2
    assert {len(key[1 + ROLLUP_DIMENSIONS.index("feature")]) for key in keys} == {LONGEST_VALUE}


def test_amounts_that_no_call_has_are_refused() -> None:
    with pytest.raises(RowsRefused):
        tally_of(make_entry("w", cost_nusd=2**60)).sums()

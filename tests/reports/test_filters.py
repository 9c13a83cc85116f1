from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.reports.filters import DIMENSIONS, LONGEST_MS, PRESETS, Scope, filter_values, make_scope, preset_scope
from backend.reports.ledger import Ledger
from db.windows import DAY_MS, HOUR_MS, MINUTE_MS
from tests.reports.ledgers import END_AT, Row, matching

times = st.integers(0, 2**42)


@given(st.sampled_from(list(PRESETS)), times)
def test_a_preset_ends_with_the_bucket_that_is_filling(preset: str, now_at: int) -> None:
    scope = preset_scope(preset, now_at=now_at)
    assert scope.length_ms == PRESETS[preset]
    assert scope.end_at - scope.bucket_ms <= now_at < scope.end_at
    assert scope.partial_last


@given(times, st.integers(1, LONGEST_MS // 2))
def test_buckets_tile_a_custom_range_on_borders_of_utc(start_at: int, length_ms: int) -> None:
    scope = make_scope(start_at, start_at + length_ms)
    assert scope.start_at <= start_at < start_at + length_ms <= scope.end_at
    assert all(at % scope.bucket_ms == 0 for at in scope.buckets)
    assert (scope.buckets[0], scope.buckets[-1] + scope.bucket_ms) == (scope.start_at, scope.end_at)


@pytest.mark.parametrize(
    ("length_ms", "bucket_ms"),
    [(3 * HOUR_MS, MINUTE_MS), (3 * HOUR_MS + 1, HOUR_MS), (14 * DAY_MS, HOUR_MS), (14 * DAY_MS + 1, DAY_MS)],
)
def test_the_bucket_follows_from_the_range(length_ms: int, bucket_ms: int) -> None:
    assert Scope(0, length_ms).bucket_ms == bucket_ms


def test_a_night_when_clocks_change_has_24_hours() -> None:
    start = datetime(2026, 3, 29, tzinfo=UTC)
    scope = make_scope(int(start.timestamp() * 1000), int(start.timestamp() * 1000) + DAY_MS)
    assert len(scope.buckets) == 24
    assert {datetime.fromtimestamp(at / 1000, UTC).minute for at in scope.buckets} == {0}


def test_the_period_before_is_as_long_as_what_has_passed() -> None:
    scope = preset_scope("24h", now_at=END_AT)
    assert scope.previous.start_at == scope.start_at - DAY_MS
    assert scope.previous.end_at == END_AT - DAY_MS
    assert make_scope(DAY_MS, 2 * DAY_MS).previous.end_at == DAY_MS


def test_unknown_filters_are_dropped() -> None:
    assert preset_scope("1h", {"model": ("m",), "colour": ("red",), "user": ()}).filters == {"model": ("m",)}


@pytest.mark.parametrize(("start_at", "end_at"), [(5, 5), (6, 5), (-1, 5), (0, LONGEST_MS + 1)])
def test_a_range_that_makes_no_sense_is_refused(start_at: int, end_at: int) -> None:
    with pytest.raises(ValueError, match="range"):
        make_scope(start_at, end_at)


def test_narrowing_replaces_adds_and_removes() -> None:
    scope = preset_scope("1h", {"model": ("a", "b")}, now_at=0)
    assert scope.narrowed("model", "c").filters == {"model": ("c",)}
    assert scope.narrowed("user", "u").filters == {"model": ("a", "b"), "user": ("u",)}
    assert scope.narrowed("model").filters == {}


def test_equal_scopes_have_equal_cache_keys() -> None:
    one, other = (preset_scope("1h", {"model": order}, now_at=0) for order in (("a", "b"), ("b", "a")))
    assert one.cache_key == other.cache_key != one.narrowed("model", "a").cache_key


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_choosers_list_every_value_with_its_calls(ledger: Ledger, rows: list[Row], dimension: str) -> None:
    scope = make_scope(END_AT - 41 * DAY_MS, END_AT, {"status": ("ok",), dimension: ("nobody",)})
    found = {each.value: each.calls for each in filter_values(ledger, scope, dimension)}
    counted: dict[str, int] = {}
    for row in matching(rows, scope.narrowed(dimension).window):
        counted[row[dimension] or ""] = counted.get(row[dimension] or "", 0) + 1
    assert found == counted

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from db.windows import DAY_MS, HOUR_MS, MINUTE_MS, Segment, Window, ceil_to, floor_to, segments

STEPS = {"call": 1, "hour": HOUR_MS, "day": DAY_MS}
moments = st.integers(0, 30 * DAY_MS) | st.integers(0, 60).map(lambda n: n * HOUR_MS)


@given(moments, moments, st.sampled_from([None, MINUTE_MS, HOUR_MS, DAY_MS]))
def test_segments_cover_a_window_once_and_nothing_else(one: int, other: int, bucket_ms: int | None) -> None:
    start_at, end_at = sorted((one, other))
    parts = segments(Window(start_at, end_at), bucket_ms)
    borders = [part.start_at for part in parts] + [end_at]
    assert borders[0] == start_at
    assert [part.end_at for part in parts] == borders[1:]
    for part in parts:
        assert part.start_at % STEPS[part.grain] == part.end_at % STEPS[part.grain] == 0


@given(moments, moments, st.sampled_from([MINUTE_MS, HOUR_MS, DAY_MS]))
def test_no_segment_is_coarser_than_the_bucket(one: int, other: int, bucket_ms: int) -> None:
    parts = segments(Window(min(one, other), max(one, other)), bucket_ms)
    assert all(STEPS[part.grain] <= bucket_ms for part in parts)


def test_days_take_the_middle_and_hours_the_edges() -> None:
    window = Window(DAY_MS - 2 * HOUR_MS, 3 * DAY_MS + HOUR_MS + 5)
    assert segments(window) == [
        Segment("hour", DAY_MS - 2 * HOUR_MS, DAY_MS),
        Segment("day", DAY_MS, 3 * DAY_MS),
        Segment("hour", 3 * DAY_MS, 3 * DAY_MS + HOUR_MS),
        Segment("call", 3 * DAY_MS + HOUR_MS, 3 * DAY_MS + HOUR_MS + 5),
    ]


@given(st.integers(0, 10**13), st.sampled_from([MINUTE_MS, HOUR_MS, DAY_MS]))
def test_rounding_stays_within_one_step(at: int, step: int) -> None:
    assert floor_to(at, step) <= at <= ceil_to(at, step) < floor_to(at, step) + 2 * step
    assert floor_to(at, step) % step == ceil_to(at, step) % step == 0

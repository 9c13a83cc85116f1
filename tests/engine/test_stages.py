"""What a load measured, and the sweet spot: laws that hold for any stages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.load import Call, Run
from backend.engine.stages import MARGIN, Slo, Spread, Stage, find_sweet_spot, spread_of, sum_up

SLO = Slo(ttft_p95_ms=500, itl_p95_ms=50, error_rate=0.01)


def stage(concurrency: int, goodput: float, *, ttft_ms: float = 100.0, itl_ms: float = 10.0, failed: int = 0) -> Stage:
    ttft, itl = (Spread(each / 2, each, each * 2) for each in (ttft_ms, itl_ms))
    return Stage(concurrency, "256:64", 100, failed, 10.0, goodput, goodput, 0.0, goodput * 64, ttft, itl)


STAGES = st.lists(
    st.builds(
        stage,
        st.integers(1, 64),
        st.floats(0, 100),
        ttft_ms=st.floats(1, 1000),
        itl_ms=st.floats(1, 100),
        failed=st.integers(0, 3),
    ),
    max_size=12,
)


def answered(began_s: float, ttft_s: float, itl_s: float, tokens: int = 5) -> Call:
    chunks = [began_s + ttft_s + number * itl_s for number in range(tokens)]
    return Call(began_s, chunks, chunks[-1], prompt_tokens=10, completion_tokens=tokens)


def test_a_load_is_summed_up() -> None:
    calls = [answered(0.0 + number, 0.1, 0.01) for number in range(10)]
    calls.append(answered(3.5, 2.0, 0.01))
    calls.append(Call(4.0, ended_s=4.1, error="503: overloaded"))
    found = sum_up(Run(calls, 0.0, 10.0), 4, "10:5", SLO)
    assert (found.calls, found.failed, found.error) == (12, 1, "503: overloaded")
    assert found.calls_per_s == 1.1
    assert found.goodput_per_s == pytest.approx(1.0)
    assert found.prompt_tokens_per_s == 11.0
    assert found.completion_tokens_per_s == pytest.approx(5.5)
    assert found.ttft == Spread(pytest.approx(100), pytest.approx(2000), pytest.approx(2000))  # type: ignore[arg-type]
    assert found.error_rate == pytest.approx(1 / 12)


def test_a_load_without_an_answer_has_no_percentiles_and_no_goodput() -> None:
    found = sum_up(Run([Call(1.0, ended_s=1.1, error="refused")], 0.0, 10.0), 1, "10:5", SLO)
    assert (found.ttft, found.itl, found.total, found.goodput_per_s, found.error_rate) == (None, None, None, 0.0, 1.0)
    assert not found.keeps(SLO)


def test_the_sweet_spot_is_the_smallest_load_that_is_as_good_as_the_best() -> None:
    stages = [stage(1, 10), stage(4, 37.9), stage(8, 39.9), stage(16, 40), stage(32, 55, ttft_ms=900)]
    found = find_sweet_spot(stages, SLO)
    assert found.place == 2
    assert found.reason == "39.90 calls/s within the targets at 8 at once: within 5% of the highest goodput"


def test_where_no_load_keeps_the_targets_there_is_no_sweet_spot_and_a_reason() -> None:
    assert find_sweet_spot([], SLO).reason == "nothing was measured"
    late = find_sweet_spot([stage(1, 5, ttft_ms=900)], SLO)
    assert late.place is None
    assert late.reason == "no load kept TTFT p95 ≤ 500 ms, ITL p95 ≤ 50 ms and errors ≤ 1.0%"
    dead = Stage(1, "1:1", 5, 5, 1.0, 0.0, 0.0, 0.0, 0.0, error="503")
    assert find_sweet_spot([dead], SLO).reason == "every call failed: 503"


@given(STAGES)
def test_the_sweet_spot_keeps_the_targets_and_no_smaller_load_is_as_good(stages: list[Stage]) -> None:
    found = find_sweet_spot(stages, SLO)
    keeping = [each for each in stages if each.keeps(SLO) and each.goodput_per_s > 0]
    assert (found.place is None) == (not keeping)
    if found.place is None:
        return
    chosen, best = stages[found.place], max(each.goodput_per_s for each in keeping)
    assert chosen.keeps(SLO)
    assert chosen.goodput_per_s >= best * (1 - MARGIN)
    assert not [e for e in keeping if e.concurrency < chosen.concurrency and e.goodput_per_s >= best * (1 - MARGIN)]


@given(STAGES)
def test_the_order_of_the_stages_does_not_matter(stages: list[Stage]) -> None:
    first = find_sweet_spot(stages, SLO).place
    turned = list(reversed(stages))
    second = find_sweet_spot(turned, SLO).place
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        chosen, other = stages[first], turned[second]
        assert (chosen.concurrency, chosen.goodput_per_s) == (other.concurrency, other.goodput_per_s)


@given(STAGES)
def test_a_wider_margin_never_means_a_larger_load(stages: list[Stage]) -> None:
    narrow, wide = find_sweet_spot(stages, SLO, 0.0).place, find_sweet_spot(stages, SLO, 0.5).place
    if narrow is not None and wide is not None:
        assert stages[wide].concurrency <= stages[narrow].concurrency


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_that_were_measured_in_their_order(values: list[float]) -> None:
    found = spread_of(list(values))
    assert found is not None
    assert found.p50_ms <= found.p95_ms <= found.p99_ms
    assert all(round(each, 3) in {round(value, 3) for value in values} for each in (found.p50_ms, found.p99_ms))


def test_percentiles_of_nothing_are_none() -> None:
    assert spread_of([]) is None
    assert spread_of([None]) is None

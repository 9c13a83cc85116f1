"""What tokens of an own engine cost: laws that hold for any price, effort and traffic."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.engine.price import (
    HOUR_US,
    Effort,
    Point,
    Served,
    TokenRates,
    break_even,
    fit_effort,
    hourly_nusd,
    period_nusd,
    rates_amortised,
    rates_at,
    rates_at_margin,
    utilisation_of,
)

EFFORT = Effort(prompt_us_per_mtok=10_000_000, completion_us_per_mtok=50_000_000, method="stated")
"""100,000 prompt tokens or 20,000 completion tokens a second."""

EFFORTS = st.builds(Effort, st.integers(10_000, 10**11), st.integers(10_000, 10**11), st.just("drawn"))
HOURS = st.integers(1_000_000, 10**12)


def test_an_hour_costs_what_its_gpus_cost() -> None:
    assert hourly_nusd(Decimal("2.5"), 4) == 10_000_000_000


def test_at_the_margin_a_token_costs_its_machine_time() -> None:
    rates = rates_at_margin(hourly_nusd(Decimal("3.6"), 1), EFFORT)  # $0.001 a second
    assert rates == TokenRates(10_000_000, 50_000_000)  # 10 s and 50 s for a million: $0.01 and $0.05
    assert rates.cost_nusd(1_000_000, 100_000) == 15_000_000


def test_an_engine_that_is_busy_a_quarter_of_the_time_costs_four_times_as_much() -> None:
    hour = hourly_nusd(Decimal("3.6"), 1)
    quarter = Served(0, 18_000_000, HOUR_US)  # 18 M completion tokens: 900 of 3,600 s
    assert utilisation_of(EFFORT, quarter) == Fraction(1, 4)
    assert rates_amortised(hour, EFFORT, quarter) == TokenRates(40_000_000, 200_000_000)
    assert rates_at(rates_at_margin(hour, EFFORT), Fraction(1, 4)) == TokenRates(40_000_000, 200_000_000)


def test_nothing_served_has_no_price() -> None:
    assert rates_amortised(1_000, EFFORT, Served(0, 0, HOUR_US)) is None
    assert rates_amortised(1_000, EFFORT, Served(5, 5, 0)) is None
    assert utilisation_of(EFFORT, Served(5, 5, 0)) is None
    assert fit_effort([]) is None
    assert fit_effort([Point(10.0, 0, 0)]) is None
    with pytest.raises(ValueError, match="above 0"):
        rates_at(TokenRates(1, 1), Fraction(0))


@given(HOURS, EFFORTS, st.integers(0, 10**9), st.integers(1, 10**9), st.integers(1, 24 * HOUR_US))
def test_the_tokens_of_a_period_together_cost_what_the_period_cost(
    hour: int, effort: Effort, prompts: int, completions: int, period_us: int
) -> None:
    rates = rates_amortised(hour, effort, Served(prompts, completions, period_us))
    busy = effort.busy_us(prompts, completions)
    assume(busy > 1000)
    assert rates is not None
    rounding = (prompts + completions) // 1_000_000 + 2 + period_nusd(hour, period_us) // busy
    assert abs(rates.cost_nusd(prompts, completions) - period_nusd(hour, period_us)) <= rounding


@given(HOURS, EFFORTS, st.integers(1, 10**9), st.integers(1, 10**9))
def test_idle_time_never_makes_a_token_cheaper_than_at_the_margin(
    hour: int, effort: Effort, prompts: int, completions: int
) -> None:
    busy = effort.busy_us(prompts, completions)
    assume(busy > 0)
    amortised = rates_amortised(hour, effort, Served(prompts, completions, busy * 2))
    margin = rates_at_margin(hour, effort)
    assert amortised is not None
    assert amortised.input_nusd_per_mtok >= margin.input_nusd_per_mtok
    assert amortised.output_nusd_per_mtok >= margin.output_nusd_per_mtok


@given(
    st.floats(1e-6, 1e-2),
    st.floats(1e-6, 1e-2),
    st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=2),
)
def test_efforts_that_made_the_loads_are_found_again(
    prompt_s: float, completion_s: float, mixes: list[tuple[int, int]]
) -> None:
    shares = [prompt / (prompt + completion) for prompt, completion in mixes]
    assume(max(shares) - min(shares) > 0.2)
    points = [Point(p * prompt_s + c * completion_s, p, c) for p, c in mixes]
    found = fit_effort(points)
    assert found is not None
    assert "different shapes" in found.method
    assert found.prompt_us_per_mtok == pytest.approx(prompt_s * 10**12, rel=1e-3, abs=2)
    assert found.completion_us_per_mtok == pytest.approx(completion_s * 10**12, rel=1e-3, abs=2)


def test_with_one_shape_the_proportion_is_assumed_and_said_to_be() -> None:
    found = fit_effort([Point(1.0, 4_000, 1_000), Point(1.0, 2_000, 500)])
    assert found is not None
    assert found.method == "one shape measured; completion : prompt assumed 4 : 1"
    assert found.completion_us_per_mtok == 4 * found.prompt_us_per_mtok
    assert found.busy_us(4_000, 1_000) == 1_000_000


def test_loads_that_contradict_each_other_fall_back_on_the_busiest() -> None:
    found = fit_effort([Point(1.0, 1_000, 1_000), Point(1.0, 100, 900)])  # fewer of both in the same time
    assert found is not None
    assert "assumed" in found.method


def test_break_even_is_where_the_api_costs_as_much_as_the_hour() -> None:
    hour = hourly_nusd(Decimal("3.6"), 1)
    api = TokenRates(150_000_000, 600_000_000)  # $0.15 and $0.60
    found = break_even(hour, EFFORT, api, (1_000, 500))
    assert found.api_nusd_per_call == 150_000 + 300_000
    assert found.calls_per_hour == 8_000
    assert found.capacity_per_hour == 3_600_000_000 // 35_000
    assert found.reachable
    assert found.utilisation == pytest.approx(8_000 / found.capacity_per_hour, rel=1e-3)


def test_a_free_api_is_never_met_and_a_cheap_one_is_out_of_reach() -> None:
    assert break_even(10**9, EFFORT, TokenRates(0, 0), (100, 100)).calls_per_hour is None
    out = break_even(10**12, EFFORT, TokenRates(1, 1), (1_000_000, 1_000_000))
    assert not out.reachable


API_RATES = st.builds(TokenRates, st.integers(1, 10**9), st.integers(1, 10**9))


@given(HOURS, EFFORTS, API_RATES, st.tuples(st.integers(1, 10**5), st.integers(1, 10**4)))
def test_at_break_even_the_api_costs_at_least_the_hour_and_one_call_less_does_not(
    hour: int, effort: Effort, api: TokenRates, call: tuple[int, int]
) -> None:
    found = break_even(hour, effort, api, call)
    if found.calls_per_hour is None:
        return
    assert found.calls_per_hour * found.api_nusd_per_call >= hour
    assert (found.calls_per_hour - 1) * found.api_nusd_per_call < hour
    assert found.reachable == (found.calls_per_hour <= found.capacity_per_hour)

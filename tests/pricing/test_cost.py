from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.pricing.cost import (
    MOST_NUSD,
    cost_of,
    round_half_even,
    saved_by_cache_nusd,
    saved_by_prefix_nusd,
    upper_bound_nusd,
)
from backend.pricing.overrides import price_from_override
from backend.pricing.prices import BUCKETS, SUFFIX, Price
from backend.pricing.usage import MISSING, Usage, estimate_usage, read_usage
from tests.pricing.vectors import Vector, price_of, read_vectors

RATES = st.integers(0, 10**11)
TOKENS = st.integers(0, 10**6)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    dollars = {bucket: Decimal(draw(RATES)) / 10**9 for bucket in BUCKETS}
    return price_from_override("any", dollars)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """A whole that is made of its parts, as a provider would report it."""
    parts = [draw(TOKENS) for _ in range(9)]
    plain, cached, written, written_1h, audio, output, reasoning, spoken, drawn = parts
    return Usage(
        prompt_tokens=plain + cached + written + written_1h + audio,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        audio_prompt_tokens=audio,
        completion_tokens=output + reasoning + spoken + drawn,
        reasoning_tokens=reasoning,
        audio_completion_tokens=spoken,
        image_completion_tokens=drawn,
        source="provider",
    )


@pytest.mark.parametrize("vector", read_vectors(), ids=str)
def test_a_golden_usage_costs_what_the_price_list_says(vector: Vector) -> None:
    cost = cost_of(read_usage(vector.usage), price_of(vector), service_tier=vector.service_tier)
    assert cost.total_nusd == vector.cost_nusd
    assert set(cost.notes) == vector.notes
    if vector.cost_nusd is not None:
        billed = {(line.bucket, line.tokens, line.rate_nusd_per_mtok) for line in cost.lines}
        assert billed == {(bucket, tokens, int(rate * 10**9)) for bucket, tokens, rate in vector.billed}


@pytest.mark.parametrize("vector", [v for v in read_vectors() if v.cost_nusd is not None], ids=str)
def test_the_golden_table_adds_up_in_decimal(vector: Vector) -> None:
    per_call = Decimal((vector.price or {}).get("per_call", 0)) * 10**9
    total = sum((tokens * dollars * 1000 for _, tokens, dollars in vector.billed), per_call)
    assert total.quantize(Decimal(1), ROUND_HALF_EVEN) == vector.cost_nusd


def test_there_are_at_least_300_golden_vectors_and_none_twice() -> None:
    assert len({str(vector) for vector in read_vectors()}) == len(read_vectors()) >= 300


@given(usages(), prices())
def test_the_total_is_the_exact_sum_of_its_lines_rounded_once(usage: Usage, price: Price) -> None:
    cost = cost_of(usage, price)
    exact = sum((line.nusd or Fraction(0) for line in cost.lines), Fraction(cost.per_call_nusd))
    assert cost.total_nusd == round(exact)  # Fraction rounds half to even
    assert cost.total_nusd >= 0


@given(usages(), prices())
def test_every_token_is_billed_in_exactly_one_bucket(usage: Usage, price: Price) -> None:
    assert sum(line.tokens for line in cost_of(usage, price).lines) == usage.total_tokens
    assert len({line.bucket for line in cost_of(usage, price).lines}) == len(cost_of(usage, price).lines)


@given(st.lists(TOKENS, min_size=1, max_size=20), RATES)
def test_exact_amounts_add_up_over_calls(tokens: list[int], rate: int) -> None:
    price = price_from_override("any", {"input": Decimal(rate) / 10**9, "output": 0})
    amounts = [line.nusd for count in tokens for line in cost_of(estimate_usage(count, 0), price).lines]
    together = cost_of(estimate_usage(sum(tokens), 0), price).lines
    assert sum(amount or 0 for amount in amounts) == sum(line.nusd or 0 for line in together)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**9))
def test_rounding_agrees_with_decimal(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert round_half_even(numerator, denominator) == round(exact)


@pytest.mark.parametrize(("halves", "rounded"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2)])
def test_halves_go_to_the_even_neighbour(halves: int, rounded: int) -> None:
    assert round_half_even(halves, 2) == rounded


@given(usages(), prices())
def test_what_is_not_known_stays_unknown(usage: Usage, price: Price) -> None:
    assert cost_of(usage, None).total_nusd is None
    assert cost_of(MISSING, price).total_nusd is None
    assert saved_by_cache_nusd(usage, None) is None
    assert saved_by_prefix_nusd(usage, None) is None
    assert saved_by_prefix_nusd(MISSING, price) is None
    assert upper_bound_nusd(1, 1, 1, None) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 8), prices())
def test_no_text_call_costs_more_than_its_upper_bound(prompt: int, most: int, n: int, price: Price) -> None:
    bound = upper_bound_nusd(prompt, most, n, price)
    for usage in (
        estimate_usage(prompt, most * n),
        Usage(prompt_tokens=prompt, completion_tokens=most * n, cache_write_1h_tokens=prompt, source="provider"),
        Usage(prompt_tokens=prompt, completion_tokens=most * n, cached_tokens=prompt, source="provider"),
        Usage(prompt_tokens=prompt, completion_tokens=most * n, reasoning_tokens=most * n, source="provider"),
    ):
        cost = cost_of(usage, price).total_nusd
        assert cost is not None
        assert bound is not None
        assert cost <= bound


@pytest.mark.parametrize("nonsense", [-1, 2**53 + 1, 2**63, 1.5, True, None, "10", float("nan"), 1e308])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_reservation_refuses_nonsense(nonsense: object, position: int) -> None:
    counts: list[Any] = [10, 10, 1]
    counts[position] = nonsense
    with pytest.raises(ValueError, match="whole number"):
        upper_bound_nusd(counts[0], counts[1], counts[2], price_from_override("any", {"input": 1, "output": 1}))


def test_an_upper_bound_rounds_up_counts_every_answer_and_fits_a_bigint() -> None:
    price = price_from_override("any", {"input": "0.0001", "output": "0.001", "per_call": "0.000000005"})
    assert upper_bound_nusd(1, 0, 1, price) == 6  # 0.1 and the fee of 5
    assert upper_bound_nusd(0, 100, 3, price) == 305
    dearest = price_from_override("any", {"input": 1_000_000, "output": 1_000_000})
    assert upper_bound_nusd(2**53, 2**53, 2**53, dearest) == MOST_NUSD


def test_an_upper_bound_knows_the_tier_and_the_length_of_the_prompt() -> None:
    vector = next(v for v in read_vectors() if v.price_name == "gpt-5.6")
    price = price_of(vector)
    assert upper_bound_nusd(1000, 0, 1, price) == 5 * 10**6  # written to the cache: $5
    assert upper_bound_nusd(1000, 0, 1, price, service_tier="flex") == 25 * 10**5
    assert upper_bound_nusd(272_001, 0, 1, price) == 272_001 * 10_000


def test_without_a_rate_there_is_no_upper_bound() -> None:
    assert upper_bound_nusd(1, 1, 1, price_from_override("any", {"input": 1})) is None


@given(usages(), prices())
def test_a_hit_saves_what_the_same_usage_would_cost_now(usage: Usage, price: Price) -> None:
    assert saved_by_cache_nusd(usage, price) == cost_of(usage, price).total_nusd


@given(usages(), prices())
def test_the_prefix_cache_saves_the_difference_of_two_rates(usage: Usage, price: Price) -> None:
    full, read = (getattr(price.rates, name + SUFFIX) for name in ("input", "cache_read"))
    assert saved_by_prefix_nusd(usage, price) == round(Fraction((usage.cached_tokens or 0) * (full - read), 10**6))


def test_the_prefix_cache_saves_nothing_where_no_discount_is_published() -> None:
    usage = read_usage({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}})
    assert saved_by_prefix_nusd(usage, price_from_override("any", {"input": 1, "output": 1})) == 0


def test_an_estimate_is_priced_like_a_report() -> None:
    price = price_from_override("any", {"input": "2.5", "output": "10"})
    assert cost_of(estimate_usage(1000, 100), price).total_nusd == 3_500_000

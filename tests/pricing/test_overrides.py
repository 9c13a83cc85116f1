from __future__ import annotations

from decimal import Decimal

import pytest

from backend.pricing.cost import cost_of
from backend.pricing.overrides import price_from_override, rates_from_dollars, row_from_override
from backend.pricing.prices import Rates, read_row
from backend.pricing.usage import Usage, estimate_usage


def test_dollars_per_million_become_whole_nano_dollars() -> None:
    price = price_from_override("own", {"input": Decimal("0.013"), "output": "0.104", "cache_read": 0})
    assert price.rates == Rates(
        input_nusd_per_mtok=13_000_000, output_nusd_per_mtok=104_000_000, cache_read_nusd_per_mtok=0
    )
    assert (price.source, price.model, price.effective_from) == ("settings", "own", 0)


def test_a_bucket_left_empty_has_no_rate_of_its_own() -> None:
    price = price_from_override("own", {"input": 1, "output": 2, "cache_read": None, "reasoning": None})
    assert price.rates.cache_read_nusd_per_mtok is None
    assert price.rates.reasoning_nusd_per_mtok is None


def test_one_write_rate_holds_for_both_lifetimes() -> None:
    price = price_from_override("own", {"input": 1, "output": 2, "cache_write": 3})
    usage = Usage(
        prompt_tokens=30, cache_write_tokens=10, cache_write_1h_tokens=20, completion_tokens=0, source="provider"
    )
    assert cost_of(usage, price).total_nusd == 90_000
    assert cost_of(usage, price).notes == ()


def test_a_stated_lifetime_wins_over_the_common_write_rate() -> None:
    price = price_from_override("own", {"input": 1, "output": 2, "cache_write": 3, "cache_write_1h": 6})
    assert price.rates.cache_write_5m_nusd_per_mtok == 3_000_000_000
    assert price.rates.cache_write_1h_nusd_per_mtok == 6_000_000_000


def test_a_fee_per_call_is_added_once() -> None:
    price = price_from_override("own", {"input": 1, "output": 1, "per_call": "0.005"})
    assert cost_of(estimate_usage(0, 0), price).total_nusd == 5_000_000


def test_zero_is_a_price() -> None:
    assert cost_of(estimate_usage(10, 10), price_from_override("own", {"input": 0, "output": 0})).total_nusd == 0


def test_the_same_settings_give_the_same_id_however_they_are_written() -> None:
    first = price_from_override("own", {"input": Decimal("1.50"), "output": 2})
    second = price_from_override("own", {"output": Decimal("2.000"), "input": "1.5", "cache_read": None})
    assert first == second
    assert first.id != price_from_override("other", {"input": "1.5", "output": 2}).id
    assert read_row(row_from_override("own", {"input": "1.5", "output": 2})) == first


@pytest.mark.parametrize("value", ["-1", Decimal("-0.1"), "NaN", "Infinity", "0.0000000001", 10**7])
def test_dollars_that_are_no_price_are_refused(value: str | Decimal | int) -> None:
    with pytest.raises(ValueError, match=r"whole|nano"):
        price_from_override("own", {"input": value, "output": 1})


@pytest.mark.parametrize("value", [0.1, True])
def test_floats_and_booleans_are_no_dollars(value: float) -> None:
    with pytest.raises(TypeError, match="decimal strings"):
        rates_from_dollars({"input": value})  # type: ignore[dict-item]


def test_a_misspelt_bucket_is_refused() -> None:
    with pytest.raises(ValueError, match="inptu"):
        rates_from_dollars({"inptu": 1})

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.pricing.cost import cost_of
from backend.pricing.overrides import rates_from_dollars
from backend.pricing.prices import PriceBook, Rates, read_row, row_of
from backend.pricing.usage import estimate_usage
from db.prices import PriceRow
from tests.sources import ROOT

NOON, LATER = 1_000_000, 2_000_000
LISTED = row_of("gpt-4o", "openai", rates_from_dollars({"input": "2.5", "output": "10"}), source="litellm")
AZURE = row_of("azure/gpt-4o", "azure", rates_from_dollars({"input": "2.75", "output": "11"}), source="litellm")
STEPS = {
    "standard": [
        {"above_tokens": 0, "input": 1, "output": 2},
        {"above_tokens": 100, "input": 3, "output": 4},
        {"above_tokens": 200, "input": 5, "output": 6},
    ],
    "tiers": {"batch": [{"input": 7, "output": 8}]},
}


def override(dollars: str, at_ms: int, model: str = "gpt-4o", provider: str | None = None) -> PriceRow:
    return row_of(model, provider, rates_from_dollars({"input": dollars, "output": dollars}), at_ms)


def input_rate(book: PriceBook, provider: str | None, at_ms: int, model: str = "gpt-4o") -> int | None:
    price = book.price_at(model, provider, at_ms)
    return None if price is None else price.rates.input_nusd_per_mtok


def test_a_provider_has_its_own_price_for_a_model() -> None:
    book = PriceBook([LISTED, AZURE])
    assert input_rate(book, "openai", NOON) == 2_500_000_000
    assert input_rate(book, "azure", NOON) == 2_750_000_000
    assert input_rate(book, None, NOON) == 2_500_000_000
    assert input_rate(book, None, NOON, "azure/gpt-4o") == 2_750_000_000
    assert input_rate(book, "azure", NOON, "azure/gpt-4o") == 2_750_000_000


@pytest.mark.parametrize("provider", ["vllm", "together_ai", "ollama", "my-own"])
def test_a_list_price_is_not_lent_to_another_provider(provider: str) -> None:
    assert PriceBook([LISTED]).price_at("gpt-4o", provider, NOON) is None


def test_the_simulated_provider_imitates_any_price() -> None:
    assert input_rate(PriceBook([LISTED]), "simulated", NOON) == 2_500_000_000


def test_the_provider_may_stand_in_front_of_the_model() -> None:
    book = PriceBook([LISTED])
    assert input_rate(book, "openai", NOON, "openai/gpt-4o") == 2_500_000_000
    assert input_rate(book, None, NOON, "openai/gpt-4o") == 2_500_000_000
    assert input_rate(book, None, NOON, "groq/gpt-4o") is None


def test_a_fine_tuned_model_is_priced_without_its_owner() -> None:
    tuned = row_of("ft:gpt-4o", "openai", rates_from_dollars({"input": 3, "output": 4}), source="litellm")
    assert input_rate(PriceBook([tuned]), "openai", NOON, "ft:gpt-4o:acme:cats:id7") == 3_000_000_000


def test_nobody_knows_the_price_of_an_unknown_model() -> None:
    assert PriceBook([LISTED]).price_at("gpt-99", "openai", NOON) is None


def test_a_price_holds_from_its_moment_on() -> None:
    book = PriceBook([LISTED, override("1", NOON), override("2", LATER)])
    found = [input_rate(book, "openai", at_ms) for at_ms in (NOON - 1, NOON, LATER - 1, LATER, LATER + 10**12)]
    assert found == [2_500_000_000, 10**9, 10**9, 2 * 10**9, 2 * 10**9]


def test_an_override_wins_over_a_newer_list_price() -> None:
    newer = row_of("gpt-4o", "openai", rates_from_dollars({"input": 9, "output": 9}), LATER, "litellm")
    assert input_rate(PriceBook([LISTED, newer, override("1", NOON)]), "openai", LATER + 1) == 10**9


def test_an_override_may_name_the_provider_or_hold_for_all() -> None:
    book = PriceBook([LISTED, AZURE, override("1", 0), override("2", 0, provider="azure")])
    assert (input_rate(book, "openai", NOON), input_rate(book, "azure", NOON)) == (10**9, 2 * 10**9)
    assert input_rate(book, "my-own", NOON) == 10**9


def test_a_withdrawn_override_gives_the_list_price_back() -> None:
    book = PriceBook([LISTED, override("1", NOON), row_of("gpt-4o", None, None, LATER)])
    assert [input_rate(book, "openai", at_ms) for at_ms in (NOON, LATER)] == [10**9, 2_500_000_000]


def test_of_two_overrides_for_one_moment_the_later_stated_holds() -> None:
    first, second = replace(override("1", NOON), created_at=1), replace(override("2", NOON), created_at=2)
    for rows in ([first, second], [second, first]):
        assert input_rate(PriceBook(rows), "openai", NOON) == 2 * 10**9


def test_a_deployments_own_price_is_found_by_id_alone() -> None:
    own = row_of("gpt-4o", None, rates_from_dollars({"input": 7, "output": 7}), source="settings")
    book = PriceBook([own])
    assert book.price_at("gpt-4o", "openai", NOON) is None
    assert book.price_by_id(own.id) == read_row(own)
    assert book.price_by_id("price-unknown") is None


def test_a_price_change_leaves_earlier_calls_at_their_price() -> None:
    before = PriceBook([LISTED])
    after = PriceBook([LISTED, override("1", NOON)])
    old = before.price_at("gpt-4o", "openai", NOON)
    assert old is not None
    assert after.price_by_id(old.id) == old
    assert cost_of(estimate_usage(1000, 0), after.price_by_id(old.id)).total_nusd == 2_500_000


@pytest.mark.parametrize(("prompt_tokens", "rate"), [(0, 1), (100, 1), (101, 3), (200, 3), (201, 5), (10**9, 5)])
def test_the_length_of_the_prompt_chooses_the_rates(prompt_tokens: int, rate: int) -> None:
    price = read_row(row_of("m", None, STEPS))
    assert price is not None
    assert price.rates_for(prompt_tokens).input_nusd_per_mtok == rate


@pytest.mark.parametrize(
    ("tier", "rate"), [(None, 1), ("default", 1), ("AUTO", 1), ("batch", 7), ("Batches", 7), ("flex", 1)]
)
def test_the_tier_chooses_the_rates_and_an_unpublished_one_falls_back(tier: str | None, rate: int) -> None:
    price = read_row(row_of("m", None, STEPS))
    assert price is not None
    assert price.rates_for(1, tier) == Rates(input_nusd_per_mtok=rate, output_nusd_per_mtok=rate + 1)
    assert price.has_tier(tier) == (tier != "flex")


@pytest.mark.parametrize(
    "rates",
    [
        {},
        {"standard": []},
        {"standard": [{"input": -1}]},
        {"standard": [{"input": 1.5}]},
        {"standard": [{"input": True}]},
        {"standard": [{"input": "1"}]},
        {"standard": [{"input": None}]},
        {"standard": [{"input": 10**16}]},
        {"standard": [{"inptu": 1}]},
        {"standard": [{"above_tokens": 5, "input": 1}]},
        {"standard": [{"input": 1}, {"above_tokens": 0, "input": 1}]},
        {"standard": [{"input": 1}, {"above_tokens": 9, "input": 1}, {"above_tokens": 8, "input": 1}]},
        {"standard": [{"input": 1}], "tiers": {"batch": [{"input": -1}]}},
        {"standard": [{"input": 1}], "per_call": -1},
        {"standard": "1"},
    ],
)
def test_bad_rates_are_refused_where_they_are_stated(rates: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="price-"):
        row_of("gpt-4o", None, rates)


def test_a_bad_override_leaves_no_book() -> None:
    with pytest.raises(ValueError, match="gpt-4o"):
        PriceBook([LISTED, replace(override("1", NOON), rates='{"standard":[{"input":-1}]}')])


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["override", "litellm", "simulated"]))
def test_the_id_depends_on_all_that_decides_a_cost_and_on_nothing_else(rate: int, at_ms: int, source: str) -> None:
    rates = {"standard": [{"input": rate, "output": 1}]}
    row = row_of("m", "p", rates, at_ms, source)
    assert row_of("m", "p", {"standard": [{"output": 1, "input": rate}]}, at_ms, source).id == row.id
    others = [
        row_of("m2", "p", rates, at_ms, source),
        row_of("m", None, rates, at_ms, source),
        row_of("m", "p", {"standard": [{"input": rate + 1, "output": 1}]}, at_ms, source),
        row_of("m", "p", rates, at_ms + 1, source),
        row_of("m", "p", rates, at_ms, source + "2"),
    ]
    assert len({row.id, *(other.id for other in others)}) == 6


def test_two_processes_give_every_price_the_same_id() -> None:
    script = (
        "import json; from backend.pricing.seed import seed_rows;"
        "from backend.pricing.overrides import price_from_override;"
        "own = price_from_override('own', {'input': '0.1', 'output': '0.3'}).id;"
        "print(json.dumps([own] + [row.id for row in seed_rows()]))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    ]
    first, second = (json.loads(run.stdout) for run in runs)
    assert first == second
    assert len(set(first)) == len(first) > 3000


def test_names_made_up_by_callers_do_not_pile_up() -> None:
    book = PriceBook([LISTED])
    for number in range(PriceBook.MOST_REMEMBERED * 2):
        assert book.price_at(f"made-up-{number}", "openai", NOON) is None
    assert len(book._remembered) <= PriceBook.MOST_REMEMBERED
    assert input_rate(book, "openai", NOON) == 2_500_000_000


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=12), st.integers(0, 60))
def test_the_price_in_force_is_the_last_one_stated_before(changes: list[tuple[int, int]], at_ms: int) -> None:
    rows = [replace(override(str(Decimal(rate)), when), created_at=i) for i, (when, rate) in enumerate(changes)]
    in_force = [(when, i, rate) for i, (when, rate) in enumerate(changes) if when <= at_ms]
    expected = max(in_force)[2] * 10**9 if in_force else None
    assert input_rate(PriceBook(rows), "openai", at_ms) == expected

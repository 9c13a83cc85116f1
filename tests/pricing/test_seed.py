from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backend.pricing import seed
from backend.pricing.cost import cost_of
from backend.pricing.prices import Price, PriceBook, read_row
from backend.pricing.usage import read_usage
from db.prices import PriceRow
from tests.pricing.vectors import price_from, published_prices, read_vectors
from tests.sources import ROOT

NOW = 1_800_000_000_000


@pytest.fixture(scope="module")
def rows() -> list[PriceRow]:
    return list(seed.seed_rows())


@pytest.fixture(scope="module")
def book(rows: list[PriceRow]) -> PriceBook:
    return PriceBook(rows)


@pytest.fixture(scope="module")
def by_model(rows: list[PriceRow]) -> dict[str, PriceRow]:
    return {row.model: row for row in rows}


def charges(price: Price) -> tuple[Any, ...]:
    return price.standard, dict(price.tiers), price.per_call_nusd


def test_thousands_of_models_are_priced_from_the_beginning_of_time(rows: list[PriceRow], book: PriceBook) -> None:
    assert len(rows) == len(book) > 3000
    assert {(row.source, row.effective_from) for row in rows} == {("litellm", 0)}
    for row in rows:
        price = book.price_by_id(row.id)
        assert price is not None
        assert any(any(getattr(rates, name) for name in rates.__slots__) for _, rates in price.standard)


@pytest.mark.parametrize(("group", "name", "published"), published_prices(), ids=lambda value: str(value)[:40])
def test_the_map_says_what_the_price_lists_say(
    group: str, name: str, published: dict[str, Any], by_model: dict[str, PriceRow]
) -> None:
    listed = read_row(by_model[published["map"]])
    assert listed is not None, f"{group}: {name}"
    assert charges(listed) == charges(price_from(published))


@pytest.mark.parametrize(
    ("model", "provider", "listed"),
    [
        ("gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("gpt-4o-mini", "simulated", "gpt-4o-mini"),
        ("gpt-4o-mini", "azure", "azure/gpt-4o-mini"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4-5", None, "claude-sonnet-4-5"),
        ("claude-haiku-4-5", "simulated", "claude-haiku-4-5"),
        ("gemini-2.5-flash", "gemini", "gemini/gemini-2.5-flash"),
        ("gemini-2.5-flash", "vertex_ai", "gemini-2.5-flash"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("deepseek-chat", "deepseek", "deepseek/deepseek-chat"),
        ("gpt-3.5-turbo-instruct", "openai", "gpt-3.5-turbo-instruct"),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", "openai", "ft:gpt-4o-mini-2024-07-18"),
        ("text-embedding-3-small", "simulated", "text-embedding-3-small"),
        ("gpt-4o-mini", "vllm", None),
        ("no-such-model", "openai", None),
    ],
)
def test_a_deployment_finds_its_list_price(
    book: PriceBook, model: str, provider: str | None, listed: str | None
) -> None:
    price = book.price_at(model, provider, NOW)
    assert (price.model if price else None) == listed


def test_an_entry_of_zeroes_is_unpriced_not_free(by_model: dict[str, PriceRow]) -> None:
    blank = [name for name, entry in seed.read_map().items() if entry.get("input_cost_per_token") == 0]
    assert "ollama/llama3" in blank
    assert "ollama/llama3" not in by_model


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"mode": "chat"},
        {"input_cost_per_token": Decimal(0), "output_cost_per_token": Decimal(0)},
        {"output_cost_per_image": Decimal("0.04")},
        {"tiered_pricing": [{"input_cost_per_query": Decimal("0.005"), "max_results_range": [1, 25]}]},
    ],
)
def test_what_is_not_priced_by_the_token_is_not_listed(entry: dict[str, Any]) -> None:
    assert seed.rates_of_entry(entry) is None


def test_rates_are_exact_and_traces_of_floats_are_rounded_away() -> None:
    entry = {"input_cost_per_token": Decimal("3.75E-8"), "output_cost_per_token": Decimal("0.0000016000000000000001")}
    assert seed.rates_of_entry(entry) == {
        "standard": [{"above_tokens": 0, "input": 37_500_000, "output": 1_600_000_000}]
    }


def test_a_negative_price_in_the_map_stops_the_seed() -> None:
    with pytest.raises(ValueError, match="not a price"):
        seed.rates_of_entry({"input_cost_per_token": Decimal("-0.1"), "output_cost_per_token": Decimal(1)})


def test_reasoning_follows_the_output_rate_it_was_published_with() -> None:
    entry = {
        "input_cost_per_token": Decimal("1E-6"),
        "output_cost_per_token": Decimal("8E-6"),
        "output_cost_per_reasoning_token": Decimal("3E-6"),
        "output_cost_per_token_flex": Decimal("4E-6"),
    }
    rates = seed.rates_of_entry(entry)
    assert rates is not None
    assert rates["standard"][0]["reasoning"] == 3_000_000_000
    assert "reasoning" not in rates["tiers"]["flex"][0]


def test_what_is_known_and_not_modelled_is_said(book: PriceBook) -> None:
    flash = book.price_at("deepseek-flash", "deepseek", NOW)
    pro = book.price_at("gemini-2.5-pro", "gemini", NOW)
    assert flash is not None
    assert pro is not None
    assert "off_peak_pricing" in flash.caveats
    assert "batch_above_200000" in pro.caveats


def test_a_first_start_lists_everything_and_a_second_one_nothing(rows: list[PriceRow]) -> None:
    first = seed.new_rows([], NOW)
    assert [row.id for row in first] == [row.id for row in rows]
    assert all(row.actor == "governor" and row.reason and row.created_at == NOW for row in first)
    assert seed.new_rows(first, NOW + 1) == []


def test_an_image_without_litellm_adds_no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert seed.new_rows([], NOW) == []


def test_a_newer_map_changes_prices_from_now_on(rows: list[PriceRow]) -> None:
    older = [replace(row, rates=row.rates.replace("150000000", "160000000")) for row in rows if row.model != "gpt-4o"]
    changed = seed.new_rows(older, NOW)
    assert {row.effective_from for row in changed} == {NOW}
    assert {"gpt-4o", "gpt-4o-mini"} <= {row.model for row in changed}
    book = PriceBook([*older, *changed])
    before, after = (book.price_at("gpt-4o-mini", "openai", at_ms) for at_ms in (NOW - 1, NOW))
    assert before is not None
    assert after is not None
    assert before.rates.input_nusd_per_mtok == 160_000_000
    assert after.rates.input_nusd_per_mtok == 150_000_000


def test_without_the_map_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(FileNotFoundError, match="not installed"):
        seed.map_path()


def test_listing_prices_touches_no_network_and_does_not_import_litellm() -> None:
    script = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(event, arguments)
sys.addaudithook(refuse)
from backend.pricing.seed import seed_book
assert len(seed_book()) > 3000
assert "litellm" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)


ORACLE = """
import json, sys
from litellm import cost_per_token
from litellm.types.utils import Usage
for line in sys.stdin:
    model, provider, usage, tier = json.loads(line)
    parts = cost_per_token(model=model, custom_llm_provider=provider, usage_object=Usage(**usage), service_tier=tier)
    print(json.dumps(sum(parts)), flush=True)
"""
WIRE = {"prompt_tokens", "completion_tokens", "total_tokens"}
OURS_ALONE = {"cached_tokens"}
"""Fields that LiteLLM does not read where these providers write them."""


def comparable() -> list[tuple[str, list[Any], int]]:
    """Golden vectors that LiteLLM can price too: its own wire, a listed model, no fee, no batch, nothing flagged."""
    found = []
    for vector in read_vectors():
        if vector.cost_nusd is None or not vector.price or "map" not in vector.price or vector.notes:
            continue
        fields = set(vector.usage)
        if "per_call" in vector.price or not fields >= WIRE or fields & OURS_ALONE:
            continue
        if vector.service_tier in (None, "flex", "priority"):
            case = [vector.price["map"], vector.price["provider"], vector.usage, vector.service_tier]
            found.append((str(vector), case, vector.cost_nusd))
    return found


@pytest.mark.slow
def test_litellm_agrees_with_the_golden_vectors(tmp_path: Path) -> None:
    cases = comparable()
    assert len(cases) > 100
    assert len({case[0] for _, case, _ in cases}) > 30
    asked = "\n".join(json.dumps(case) for _, case, _ in cases)
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ORACLE],
        input=asked.encode(), cwd=tmp_path, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr.decode()
    answers = [Decimal(line) * 10**9 for line in run.stdout.decode().splitlines()]
    off = [
        f"{name}: {answer} instead of {cost_nusd}"
        for (name, _, cost_nusd), answer in zip(cases, answers, strict=True)
        if abs(answer - cost_nusd) > Decimal("0.51") + cost_nusd * Decimal("1e-12")
    ]
    assert not off, "\n".join(off)


def test_the_seeded_price_gives_the_golden_cost(by_model: dict[str, PriceRow]) -> None:
    checked = 0
    for vector in read_vectors():
        if vector.price and "map" in vector.price:
            price = read_row(by_model[vector.price["map"]])
            cost = cost_of(read_usage(vector.usage), price, service_tier=vector.service_tier)
            assert cost.total_nusd == vector.cost_nusd, vector
            checked += 1
    assert checked > 300

"""Prefetch's decision: what demand is worth against what it costs to ask again; and what is kept for asking."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.exact import key_of, write_recipe
from backend.cache.prefetch import Due, decide, lead_ms, probability_of_demand, read_request
from backend.call import Entry
from backend.settings.knobs import CacheSettings
from tests.fakes import Scene, arrival, call, deployment, run, scene, settings, whole

ON = {"prefetch_usd_per_day": "1"}
HOUR = CacheSettings(prefetch_usd_per_day=Decimal(1), prefetch_usd_per_hour_waited=Decimal(36))
"""A second of waiting is worth a cent."""
CENT = 10_000_000


def due(hits: int = 3, cost_nusd: int | None = CENT, latency_ms: float = 1000.0, **changes: Any) -> Due:
    fixed: dict[str, Any] = {
        "key": b"k" * 16,
        "tenant": "tenant",
        "model": "m",
        "stored_at": 0,
        "expires_at": 3_600_000,
        "endpoint": "chat.completions",
        "namespace": "",
    }
    return Due(**(fixed | changes), cost_nusd=cost_nusd, latency_ms=latency_ms, hits=hits)


# after 50 minutes of an hour's life P is 0.50 after one hit, 0.75 after two, 0.998 after nine
@pytest.mark.parametrize(
    ("entry", "refresh", "reason"),
    [
        (due(hits=0), False, "nobody asked for it in this life"),
        (due(cost_nusd=None), False, "what it costs is not known"),
        (due(hits=0, cost_nusd=0), False, "nobody asked for it in this life"),
        (due(hits=1, cost_nusd=0), True, "1 hits; 0.50 × ($0.000000 + $0.010000 of waiting) > $0.000000"),
        (due(hits=1), True, "1 hits; 0.50 × ($0.010000 + $0.010000 of waiting) > $0.010000"),
        (due(hits=1, cost_nusd=2 * CENT), False, "1 hits; 0.50 × ($0.020000 + $0.010000 of waiting) ≤ $0.020000"),
        (due(hits=2, cost_nusd=2 * CENT), True, "2 hits; 0.75 × ($0.020000 + $0.010000 of waiting) > $0.020000"),
        (due(hits=9, latency_ms=0), False, "9 hits; 1.00 × ($0.010000 + $0.000000 of waiting) ≤ $0.010000"),
        (due(hits=9, latency_ms=1), False, "9 hits; 1.00 × ($0.010000 + $0.000010 of waiting) ≤ $0.010000"),
    ],
)
def test_an_entry_is_asked_for_again_where_that_is_worth_more_than_it_costs(
    entry: Due, refresh: bool, reason: str
) -> None:
    decision = decide(entry, HOUR, 2_999_000)
    assert (decision.refresh, decision.reason) == (refresh, reason)


HITS = st.integers(0, 10_000)
SECONDS = st.floats(0, 1e7, allow_nan=False)


@given(HITS, SECONDS, st.floats(1, 1e7))
def test_a_probability_grows_with_demand_and_shrinks_with_the_time_it_took(
    hits: int, age_s: float, life_s: float
) -> None:
    found = probability_of_demand(hits, age_s, life_s)
    assert 0 <= found <= 1
    assert probability_of_demand(hits + 1, age_s, life_s) >= found
    assert probability_of_demand(hits, age_s + 1000, life_s) <= found
    assert probability_of_demand(0, age_s, life_s) == 0


@given(HITS, st.integers(0, 10**12), st.floats(0, 600_000), st.integers(0, 3_600_000), st.decimals(0, 1000, places=2))
def test_nothing_is_asked_for_again_at_a_loss(
    hits: int, cost_nusd: int, latency_ms: float, age_ms: int, usd_per_hour: Decimal
) -> None:
    knobs = HOUR.model_copy(update={"prefetch_usd_per_hour_waited": usd_per_hour})
    probability = probability_of_demand(hits, age_ms / 1000.0, knobs.ttl_s)
    wait_nusd = latency_ms * float(usd_per_hour) * 1e9 / 3_600_000
    decision = decide(due(hits, cost_nusd, latency_ms), knobs, age_ms)
    gain = probability * (cost_nusd + wait_nusd) - cost_nusd
    if abs(gain) > 1e-6 * (1 + cost_nusd + wait_nusd):
        assert decision.refresh == (gain > 0)
    if wait_nusd == 0:
        assert not decision.refresh


def test_entries_are_looked_at_in_the_last_tenth_of_their_life_but_no_more_than_five_minutes() -> None:
    assert lead_ms(CacheSettings(ttl_s=60)) == 6000
    assert lead_ms(CacheSettings(ttl_s=86_400)) == 300_000


async def kept(stage: Scene, **asked: Any) -> Any:
    """The recipe beside the one answer that was stored."""
    await run(stage, arrival(**asked))
    (stored,) = stage.store.entries.values()
    return stored.recipe


async def test_a_recipe_asks_the_question_that_the_key_stands_for() -> None:
    stage = scene([whole()], document=settings(cache=ON))
    await run(stage, arrival(stream=False, user="ana", seed=2**60, cache={"namespace": "n"}, temperature=0.25))
    (stored,) = stage.store.entries.values()
    recipe = stored.recipe
    assert recipe is not None
    assert recipe.latency_ms >= 0
    assert b"ana" not in recipe.request
    again = read_request(due(namespace=recipe.namespace, endpoint=recipe.endpoint), recipe.request)
    assert again is not None
    assert key_of(again, stored.tenant) == stored.key
    assert (again.stream, again.model, again.body["seed"]) == (False, "m", 2**60)


TOOLS = whole()
TOOLS["choices"][0] |= {"finish_reason": "tool_calls"}
TOOLS["choices"][0]["message"] |= {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("cache", "answer", "asked"),
    [
        ({}, whole(), {}),
        (ON, whole(), {"cache": {"ttl": 60}}),
        (ON, whole(), {"headers": {b"idempotency-key": b"k"}}),
        (ON, whole(usage={"prompt_tokens": -1}), {}),
        (ON | {"store_tool_calls": True}, TOOLS, {}),
        (ON | {"max_entry_kb": 1}, whole(), {"messages": [{"role": "user", "content": "x" * 2000}]}),
    ],
    ids=["off", "own ttl", "idempotency key", "cost unknown", "tool calls", "too long"],
)
async def test_no_recipe_is_kept_where_nothing_may_be_asked_again(
    cache: dict[str, Any], answer: dict[str, Any], asked: dict[str, Any]
) -> None:
    assert await kept(scene([answer], document=settings(cache=cache)), **asked) is None


async def test_a_model_without_a_price_is_never_asked_again() -> None:
    assert await kept(scene([whole()], document=settings(deployment(price=None), cache=ON))) is None


def test_a_request_that_cannot_be_written_down_is_never_asked_again() -> None:
    entry = Entry("worker", "chat.completions", cost_nusd=5)
    assert write_recipe(call(seed=2**60), whole(), entry, HOUR) is not None
    assert write_recipe(call(seed=2**70), whole(), entry, HOUR) is None


@pytest.mark.parametrize("request_", [b"", b"[]", b'"x"', b'{"model":"other"}', b"{", b"\xff"])
def test_bytes_that_are_no_request_for_the_model_are_ignored(request_: bytes) -> None:
    assert read_request(due(), request_) is None


def test_an_endpoint_that_does_not_exist_is_ignored() -> None:
    body = orjson.dumps({"model": "m", "messages": []})
    assert read_request(due(), body) is not None
    assert read_request(due(endpoint="images"), body) is None

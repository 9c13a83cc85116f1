"""The exact cache: who may get which answer, which answers are kept, and how long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.cache.exact import ExactCache, bypass_reason, key_of, ttl_s
from backend.call import Call, Identity
from backend.errors import UpstreamInterrupted
from backend.settings.knobs import CacheSettings
from tests.cache.answers import VALUE
from tests.fakes import PAUSE, FakeStore, Scene, Script, arrival, call, events, run, scene, settings, usage, whole

KNOBS = CacheSettings()
TENANT = st.sampled_from([f"tenant-{number}" for number in range(8)])
PROMPT = st.sampled_from(["a", "b", "what is it?"])


async def serve(stage: Scene, **body: Any) -> str | None:
    """How the next call was answered."""
    await run(stage, **body)
    return stage.ledger.recorded[-1].cache_kind


@examples(max_examples=40)
@given(st.lists(st.tuples(TENANT, PROMPT, st.booleans()), min_size=2, max_size=30))
def test_no_tenant_ever_gets_the_answer_to_another(visits: list[tuple[str, str, bool]]) -> None:
    async def play() -> None:
        stage = scene([whole()])
        for number, (tenant, prompt, stream) in enumerate(visits):
            own = f"{tenant} asked {prompt}"
            stage.keys.identity = Identity(tenant, f"key-{number}")
            stage.client.scripts = [events(own) if stream else [whole(own)]]
            ending = await run(stage, stream=stream, messages=[{"role": "user", "content": prompt}])
            assert ending.text == own

    asyncio.run(play())


@given(TENANT, TENANT, st.dictionaries(st.sampled_from(["seed", "stop", "tools"]), VALUE, max_size=2))
def test_a_key_names_its_tenant(one: str, other: str, body: dict[str, Any]) -> None:
    assert (key_of(call(**body), one) == key_of(call(**body), other)) == (one == other)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "n"},
        {"messages": [{"role": "user", "content": "hello "}]},
        {"messages": [{"role": "system", "content": "hello"}]},
        {"temperature": 0.5},
        {"seed": 2},
        {"n": 2},
        {"max_tokens": 5},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"stop": ["x"]},
        {"unheard_of": 1},
        {"seed": 2**70},
        {"logit_bias": {"1": 2**70}},
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(changed: dict[str, Any]) -> None:
    assert key_of(call(**changed), "t") != key_of(call(), "t")


def test_what_cannot_change_the_answer_does_not_change_the_key() -> None:
    plain = key_of(call(), "t")
    same: list[dict[str, Any]] = [{"stream": True}, {"user": "u"}, {"metadata": {"a": "b"}}, {"store": True}]
    same += [{"stream": True, "stream_options": {"include_usage": True}}, {"prompt_cache_key": "k"}]
    assert {key_of(call(**body), "t") for body in same} == {plain}
    one, other = call(), call()
    other.body = dict(reversed(other.body.items()))
    assert key_of(one, "t") == key_of(other, "t")


def test_endpoints_do_not_share_a_key() -> None:
    body = {"model": "m", "input": "x", "prompt": "x"}
    keys = {
        key_of(Call(endpoint, body, "m", stream=False, wants_usage=False), "t")
        for endpoint in ("completions", "embeddings")
    }
    assert len(keys) == 2


# what must never be kept: (script, body)
NEVER: dict[str, tuple[Script, dict[str, Any]]] = {
    "truncated": ([whole(choices=[whole()["choices"][0] | {"finish_reason": "length"}])], {}),
    "filtered": ([whole(choices=[whole()["choices"][0] | {"finish_reason": "content_filter"}])], {}),
    "unfinished": ([whole(choices=[whole()["choices"][0] | {"finish_reason": None}])], {}),
    "empty": ([whole("")], {}),
    "no choices": ([whole(choices=[])], {}),
    "one of two truncated": (
        [whole(choices=[whole()["choices"][0], whole()["choices"][0] | {"index": 1, "finish_reason": "length"}])],
        {},
    ),
    "tool calls": (
        [whole(choices=[{"index": 0, "message": {"tool_calls": [{"id": "c"}]}, "finish_reason": "tool_calls"}])], {},
    ),
    "error": ([UpstreamInterrupted("cut")], {}),
    "cut stream": ([*events("a", "b")[:2], UpstreamInterrupted("cut")], {"stream": True}),
    "stream without an end": (events("a", "b")[:3], {"stream": True}),
    "hot": ([whole()], {"temperature": 1.5}),
    "no-store": ([whole()], {"cache": {"no-store": True}}),
    "no time to live": ([whole()], {"cache": {"ttl": 0}}),
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
async def test_what_must_not_be_kept_is_asked_for_again(name: str) -> None:
    script, body = NEVER[name]
    stage = scene(script, document=settings(upstream={"max_attempts": 1}))
    await run(stage, **body)
    await run(stage, **body)
    assert len(stage.client.requests) == 2
    assert stage.store.entries == {}


async def test_an_answer_larger_than_the_limit_is_not_kept() -> None:
    for size, kept in ((700, 1), (1100, 0)):
        for stream in (False, True):
            script = events("x" * size) if stream else [whole("x" * size)]
            stage = scene(script, document=settings(cache={"max_entry_kb": 1}))
            await run(stage, stream=stream)
            assert len(stage.store.entries) == kept


async def test_tool_calls_are_kept_only_when_that_is_switched_on() -> None:
    script, _ = NEVER["tool calls"]
    stage = scene(script, document=settings(cache={"store_tool_calls": True}))
    assert [await serve(stage), await serve(stage)] == ["miss", "exact"]
    stage.use(settings())
    assert await serve(stage) == "miss"


@pytest.mark.parametrize(
    ("knobs", "directives", "seconds"),
    [
        ({}, {}, 3600),
        ({}, {"ttl": 60}, 60),
        ({}, {"ttl": 10**9}, 3600),
        ({"ttl_s": 10}, {"ttl": 60}, 10),
        ({}, {"ttl": 0.5}, 0.5),
    ],
)
def test_callers_may_shorten_the_time_to_live_but_not_lengthen_it(
    knobs: dict[str, Any], directives: dict[str, Any], seconds: float
) -> None:
    asked = call()
    asked.cache = directives
    assert ttl_s(asked, CacheSettings(**knobs)) == seconds


async def test_an_entry_is_served_as_long_as_settings_and_caller_allow() -> None:
    stage = scene([whole()], document=settings(cache={"ttl_s": 100}))
    await run(stage)
    ((key, stored),) = stage.store.entries.items()
    for age_s, knobs, directives, kind in [
        (50, {"ttl_s": 100}, {}, "exact"),
        (50, {"ttl_s": 40}, {}, "miss"),
        (50, {"ttl_s": 100}, {"s-maxage": 40}, "miss"),
        (50, {"ttl_s": 100}, {"s-maxage": 10**9}, "exact"),
        (101, {"ttl_s": 100}, {"s-maxage": 10**9}, "miss"),
        (50, {"ttl_s": 100}, {"no-cache": True}, "bypass"),
        (50, {"ttl_s": 100, "exact_enabled": False}, {"no-cache": False}, "bypass"),
        (50, {"ttl_s": 100}, {"namespace": "mine"}, "miss"),
        (-50, {"ttl_s": 100}, {}, "exact"),
    ]:
        stage.store.entries[key] = stored._replace(stored_at=time.time_ns() // 1_000_000 - age_s * 1000)
        stage.use(settings(cache=knobs))
        assert await serve(stage, cache=directives) == kind, (age_s, knobs, directives)


@pytest.mark.parametrize(
    ("control", "kinds"),
    [
        (b"no-cache", ["miss", "bypass", "exact"]),
        (b"No-Store, max-age=5", ["miss", "exact", "exact"]),
        (b"max-age=99999999", ["miss", "exact", "exact"]),
        (b"only-if-cached, x=y, max-age=abc", ["miss", "exact", "exact"]),
    ],
)
async def test_cache_control_is_understood(control: bytes, kinds: list[str]) -> None:
    stage = scene([whole()])
    seen = []
    for headers in ({}, {b"cache-control": control}, {}):
        await run(stage, arrival(headers=headers))
        seen.append(stage.ledger.recorded[-1].cache_kind)
    assert seen == kinds


@pytest.mark.parametrize(
    ("knobs", "body", "why"),
    [
        ({"exact_enabled": False}, {}, "off"),
        ({"max_temperature": 0.5}, {}, "temperature"),
        ({"max_temperature": 0.5}, {"temperature": 0.6}, "temperature"),
        ({"max_temperature": 0.5}, {"temperature": 0.5}, None),
        ({"max_temperature": 0}, {"temperature": 0}, None),
        ({}, {"temperature": None}, None),
    ],
)
def test_why_a_call_bypasses_the_cache(knobs: dict[str, Any], body: dict[str, Any], why: str | None) -> None:
    reason = bypass_reason(call(**body), CacheSettings(**knobs))
    assert reason is None if why is None else why in str(reason)


def test_embeddings_have_no_temperature() -> None:
    asked = call(endpoint="embeddings", input="x")
    assert bypass_reason(asked, CacheSettings(max_temperature=0)) is None


async def test_an_entry_of_another_tenant_under_the_same_key_is_a_miss() -> None:
    stage = scene([whole()])
    await run(stage)
    ((key, stored),) = stage.store.entries.items()
    stage.store.entries[key] = stored._replace(tenant="mallory")
    assert await serve(stage) == "miss"


async def test_a_store_that_is_away_is_a_miss_with_a_note() -> None:
    cache = ExactCache(FakeStore(away=True))
    found = await cache.look_up(call(), "t", KNOBS)
    assert (found.kind, found.reason, found.key) == ("miss", "store: away", key_of(call(), "t"))


async def test_embeddings_are_kept() -> None:
    vector = {"object": "list", "data": [{"index": 0, "embedding": [0.1]}], "model": "e", "usage": usage(3, 0)}
    stage = scene([vector])
    body: dict[str, Any] = {"endpoint": "embeddings", "input": "x"}
    await run(stage, arrival(**body))
    await run(stage, arrival(**body))
    assert [entry.cache_kind for entry in stage.ledger.recorded] == ["miss", "exact"]


async def test_of_calls_that_shared_an_answer_the_one_that_paid_keeps_it() -> None:
    stage = scene([PAUSE, PAUSE, whole(), PAUSE])
    await asyncio.gather(*(run(stage) for _ in range(5)))
    [leader] = [row for row in stage.ledger.recorded if row.cache_kind == "miss"]
    (stored,) = stage.store.entries.values()
    assert (stored.call_id, stored.cost_nusd) == (leader.id, leader.cost_nusd)
    await run(stage)
    assert stage.ledger.recorded[-1].saved_cache_nusd == leader.cost_nusd == 2850

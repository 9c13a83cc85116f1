"""What the ledger learns from the chunks, and how an entry's books are closed: tokens, states, money."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from backend.call import Call, Chunk, Entry
from backend.gateway.observe import observe
from backend.pricing.prices import PriceBook
from tests.fakes import PAUSE, Script, call, deployment, event, events, run, scene, settings, usage, whole


def see(asked: Call, *stream: dict[str, Any], raw: bytes | None = None) -> tuple[Entry, list[Chunk]]:
    entry, chunks = Entry("w", "chat.completions"), []
    for each in stream:
        chunks.append(Chunk(raw or orjson.dumps(each), each))
        observe(entry, asked, chunks[-1])
    return entry, chunks


STREAM = call(stream=True)
ASKING = call(stream=True, stream_options={"include_usage": True})


def test_the_chunk_that_only_states_usage_is_shown_only_to_those_who_asked() -> None:
    for asked, shown in ((STREAM, False), (ASKING, True)):
        _, chunks = see(asked, *events("a", stated=usage(1, 2)))
        assert [chunk.shown for chunk in chunks] == [True] * (len(chunks) - 1) + [shown]


@pytest.mark.parametrize("null", [b',"usage":null', b', "usage": null'])
def test_the_null_usage_that_asking_brings_is_taken_out_again(null: bytes) -> None:
    each = event({"content": "a"}, usage=None)
    raw = orjson.dumps(event({"content": "a"})).removesuffix(b"}") + null + b"}"
    assert see(STREAM, each, raw=raw)[1][0].data == orjson.dumps(event({"content": "a"}))
    assert see(ASKING, each, raw=raw)[1][0].data == raw


@pytest.mark.parametrize("text", [',"usage":null', '{"a":1,"usage":null}', ', "usage": null}'])
def test_text_that_looks_like_it_is_left_alone(text: str) -> None:
    for each in (
        event({"content": text}),
        event({"content": text}, usage=None),
        event({"content": "a"}, note={"usage": None}),
    ):
        _, (chunk,) = see(STREAM, each)
        seen = orjson.loads(chunk.data)
        assert seen["choices"] == each["choices"]
        assert seen.get("note") == each.get("note")


def test_usage_beside_words_is_left_where_it_is() -> None:
    each = event({"content": "a"}, usage=usage(1, 1))
    _, (chunk,) = see(STREAM, each)
    assert chunk.shown
    assert orjson.loads(chunk.data) == each


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_cumulative_usage_is_never_summed(count: int) -> None:
    entry, _ = see(STREAM, *(event({"content": "a"}, usage=usage(5, number + 1)) for number in range(count)))
    assert entry.usage_read is not None
    assert (entry.usage_read.prompt_tokens, entry.usage_read.completion_tokens) == (5, count)


def test_the_finish_reason_and_the_tier_are_remembered() -> None:
    entry, _ = see(STREAM, event({}, "length"), event({}, choices=[], usage=usage(1, 1), service_tier="flex"))
    assert (entry.finish_reason, entry.service_tier) == ("length", "flex")
    entry, _ = see(STREAM, event({}, "x" * 500))
    assert entry.finish_reason == "x" * 64


# what the provider states: tokens, source, state, cost at $0.15 and $0.60 a million
STATED: list[tuple[Any, tuple[Any, ...]]] = [
    (usage(1000, 500), (1000, 500, "provider", "settled", 450_000)),
    (usage(0, 0), (0, 0, "provider", "settled", 0)),
    (usage(1, 0), (1, 0, "provider", "settled", 150)),
    (None, (7, 3, "estimated", "estimated", 2850)),
    ({}, (7, 3, "estimated", "estimated", 2850)),
    ({"prompt_tokens": 5}, (5, None, "unknown", "unknown", None)),
    ({"prompt_tokens": -5, "completion_tokens": 1}, (None, 1, "unknown", "unknown", None)),
    ({"surprise": 1}, (None, None, "unknown", "unknown", None)),
    (
        usage(1000, 10) | {"prompt_tokens_details": {"cached_tokens": 400}},
        (1000, 10, "provider", "settled", 600 * 150 + 400 * 75 + 10 * 600),
    ),
    (
        usage(10, 100) | {"completion_tokens_details": {"reasoning_tokens": 90}},
        (10, 100, "provider", "settled", 10 * 150 + 100 * 600),
    ),
]


@pytest.mark.parametrize(("stated", "booked"), STATED)
@pytest.mark.parametrize("stream", [False, True])
async def test_usage_stated_estimated_and_unknown_are_three_things(
    stated: Any, booked: tuple[Any, ...], stream: bool
) -> None:
    script: Script = [whole("hello there", usage=stated)]
    if stream:
        script = [*events("hello there"), event({}, choices=[], usage=stated)]
    stage = scene(script)
    await run(stage, stream=stream)
    entry = stage.ledger.only
    source = (entry.usage_source, entry.state, entry.cost_nusd)
    assert (entry.prompt_tokens, entry.completion_tokens, *source) == booked
    assert entry.tries[0].cost_nusd == entry.cost_nusd
    if stated:
        assert entry.usage == stated


async def test_a_model_without_a_price_is_unpriced_not_free() -> None:
    for policy, cost in (("allow", None), ("estimate", 7 * 5000 + 3 * 15_000)):
        stage = scene([whole()], document=settings(deployment(price=None), pricing={"unpriced": policy}))
        await run(stage, model="nobody-prices-this")
        entry = stage.ledger.only
        assert (entry.status, entry.prompt_tokens, entry.cost_nusd) == ("ok", 7, cost)
        assert (entry.price_id is None) == (policy == "allow")


async def test_a_model_without_a_price_is_refused_where_the_settings_demand_one() -> None:
    stage = scene([whole()], document=settings(deployment(price=None), pricing={"unpriced": "block"}))
    ending = await run(stage, model="nobody-prices-this")
    assert ending.error is not None
    assert (ending.error.status, ending.error.code) == (403, "unpriced_model")
    assert (stage.client.requests, stage.ledger.only.cost_nusd) == ([], 0)


async def test_the_price_is_frozen_before_the_answer_comes() -> None:
    stage = scene([PAUSE, PAUSE, whole()])
    await run(stage)
    entry = stage.ledger.only
    assert entry.price_id == entry.tries[0].price_id
    assert entry.price_id is not None
    stage.gateway.bill._book = lambda: PriceBook([])
    await run(stage, seed=1)
    assert stage.ledger.recorded[-1].cost_nusd == entry.cost_nusd


@pytest.mark.parametrize(
    ("body", "reserved"),
    [
        ({"max_tokens": 100}, True),
        ({"max_completion_tokens": 100, "max_tokens": 5}, True),
        ({"max_tokens": 100, "n": 3}, True),
        ({}, False),
    ],
)
async def test_an_attempt_reserves_what_it_may_cost_at_most(body: dict[str, Any], reserved: bool) -> None:
    stage = scene([whole()])
    await run(stage, **body)
    (attempt,) = stage.ledger.only.tries
    if not reserved:
        assert attempt.reserved_nusd is None
        return
    completion = body.get("max_completion_tokens", body["max_tokens"]) * body.get("n", 1)
    assert attempt.reserved_nusd == stage.ledger.only.request_bytes * 150 + completion * 600
    assert (attempt.cost_nusd or 0) <= (attempt.reserved_nusd or 0)


async def test_a_prefix_that_the_provider_cached_is_money_saved() -> None:
    stage = scene([whole(usage=usage(1000, 10) | {"prompt_tokens_details": {"cached_tokens": 400}})])
    await run(stage)
    entry = stage.ledger.only
    assert entry.saved_prefix_nusd == 400 * 75
    assert entry.baseline_nusd == (entry.cost_nusd or 0) + 400 * 75


async def test_times_are_told_and_add_up() -> None:
    stage = scene([PAUSE, *(step for each in events(*"abcdef", stated=usage(1, 6)) for step in (each, PAUSE))])
    await run(stage, stream=True)
    entry = stage.ledger.only
    assert 0 < (entry.ttft_ms or 0) <= (entry.latency_ms or 0)
    assert (entry.itl_ms or 0) * 5 <= (entry.latency_ms or 0)
    assert 0 <= (entry.overhead_ms or 0) <= (entry.latency_ms or 0)
    stage = scene([whole()])
    await run(stage)
    assert stage.ledger.only.itl_ms is None

"""Hits: an answer is replayed whole, costs nothing and saves what it cost; what is no answer is no hit."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples

from backend.answer import Fold
from backend.cache.exact import is_complete, read_answer
from backend.gateway.pipeline import answer as play_call
from backend.settings.knobs import CacheSettings
from tests.cache.answers import chats
from tests.fakes import arrival, events, run, scene, whole

KNOBS = CacheSettings()


async def test_a_hit_costs_nothing_and_saves_what_the_answer_cost() -> None:
    stage = scene([whole()])
    await run(stage)
    paid = stage.ledger.recorded[0]
    for stream in (False, True):
        ending = await run(stage, stream=stream)
        hit = stage.ledger.recorded[-1]
        assert ending.text == "hello there"
        assert (hit.cache_kind, hit.cost_nusd, hit.saved_cache_nusd) == ("exact", 0, paid.cost_nusd)
        assert (hit.source_call_id, hit.prompt_tokens) == (paid.id, paid.prompt_tokens)
        assert (hit.deployment, hit.served_model, hit.attempts) == ("local", "m-1", 0)
        assert hit.baseline_nusd == hit.saved_nusd == paid.cost_nusd


async def test_a_hit_of_an_unpriced_answer_costs_nothing_and_saves_nobody_knows_what() -> None:
    stage = scene([whole(usage={"prompt_tokens": -4})])
    await run(stage)
    await run(stage)
    paid, hit = stage.ledger.recorded
    assert (paid.cost_nusd, hit.cost_nusd, hit.saved_cache_nusd) == (None, 0, None)


async def test_a_hit_whose_reader_leaves_costs_nothing() -> None:
    stage = scene([whole()])
    await run(stage)
    chunks = play_call(arrival(stream=True), stage.gateway.open_entry("chat.completions"), stage.gateway)
    await anext(chunks)
    await chunks.aclose()
    hit = stage.ledger.recorded[-1]
    assert (hit.status, hit.cost_nusd) == ("cancelled", 0)


@examples(max_examples=25)
@given(chats(finish=("stop",)))
def test_a_replay_says_what_the_paid_answer_said(answer: dict[str, Any]) -> None:
    async def play() -> None:
        stage = scene([answer])
        await run(stage)
        if not stage.store.entries:
            assert not is_complete(answer, KNOBS)
            return
        replayed = await run(stage)
        assert replayed.chunks[0].event == answer
        streamed = await run(stage, stream=True, stream_options={"include_usage": True})
        gathered = Fold(10**9)
        for chunk in streamed.chunks:
            gathered.add(orjson.loads(chunk.data), len(chunk.data))
        again = gathered.answer()
        assert again is not None
        assert again | {"created": 1} == answer

    asyncio.run(play())


POISON = [b"", b"null", b"5", b"[]", b"{}", b'{"choices":5}', b'{"choices":[5]}', b'{"choices":[{"message":5}]}']
POISON += [
    b'{"data":5,"choices":[1]}',
    b"\x80\x04\x95cbuiltins\neval\n",
    b'{"choices":"stop"}',
    b'{"choices":{"a":{}}}',
]
POISON += [
    b'{"choices":[{"finish_reason":"stop","message":{"content":"x"}},7]}',
    b'{"choices":[{"message":{"content":"x"}}]}',
]


@pytest.mark.parametrize("body", POISON)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_entry_that_is_no_answer_is_a_miss(body: bytes, stream: bool) -> None:
    stage = scene([whole()])
    await run(stage)
    ((key, stored),) = stage.store.entries.items()
    stage.store.entries[key] = stored._replace(body=body)
    assert read_answer(stage.store.entries[key], KNOBS) is None
    stage.client.scripts = [events("fresh") if stream else [whole("fresh")]]
    assert (await run(stage, stream=stream)).text == "fresh"

"""Streams, as every client sees them: in order, whole, and never mistaken for whole when they are not."""

from __future__ import annotations

import pytest

from tests.contract.place import Place, chat, say
from tests.contract.speakers import Speaker
from tests.faults.clients import UNMARKED, Ask
from tests.faults.wire import Wire

SOUND = ["ok", "utf-8", "utf-8:3", "keepalive-comments", "keepalive-data", "empty-finish-reason", "slow-stream:5:200"]
BROKEN = [
    "die-at-byte-n:{}",
    "die-at-byte-n:{}:clean",
    "rst-at-byte-n:{}",
    "error-chunk:3",
    "error-chunk:3:done",
    "json-tail:3",
    "stall-after-n:3",
    "garbage-json",
    "wrong-content-type",
    "200-json-error",
]


@pytest.mark.parametrize("behaviour", SOUND)
def test_a_stream_is_the_whole_answer(speaker: Speaker, behaviour: str) -> None:
    whole = speaker.ask("create", params=chat(f"fake/{behaviour}@3"))
    streamed = speaker.ask("stream", params=chat(f"fake/{behaviour}@3"))
    assert streamed.error is None
    assert streamed.text == whole.text
    endings = [choice["finish_reason"] for chunk in streamed.chunks for choice in chunk["choices"]]
    assert "" not in endings
    if behaviour != "empty-finish-reason":
        assert endings[-1] == "stop"


@pytest.mark.parametrize("model", ["fake/ok", "gpt-4o-mini"])
def test_usage_is_shown_in_the_last_chunk_when_it_was_asked_for(speaker: Speaker, place: Place, model: str) -> None:
    asked = chat(model, stream_options={"include_usage": True})
    for cache in ("MISS", "HIT"):
        outcome = speaker.ask("stream", params=asked)
        assert outcome.headers["x-governor-cache"] == cache
        *others, last = outcome.chunks
        assert last["choices"] == []
        assert all(chunk["choices"] and not chunk.get("usage") for chunk in others)
        assert last["usage"]["completion_tokens"] == place.row(outcome.call_id)["completion_tokens"]


@pytest.mark.parametrize("model", ["fake/ok", "fake/no-usage", "gpt-4o-mini"])
def test_a_chunk_without_choices_is_never_shown_unasked(speaker: Speaker, model: str) -> None:
    asked = chat(model)
    for cache in ("MISS", "HIT"):
        outcome = speaker.ask("stream", params=asked)
        assert outcome.headers["x-governor-cache"] == cache
        assert all(chunk["choices"] for chunk in outcome.chunks)
        assert not any("usage" in chunk for chunk in outcome.chunks)


@pytest.mark.parametrize("model", ["fake/ok", "fake/keepalive-data", "gpt-4o-mini", "fake/usage-every-chunk:5"])
def test_the_loop_of_every_tutorial_works(speaker: Speaker, model: str) -> None:
    outcome = speaker.ask("naive", params=chat(model))
    assert outcome.error is None
    assert len(outcome.value) > 0


@pytest.mark.parametrize("behaviour", BROKEN)
def test_a_stream_that_breaks_raises_in_every_client(speaker: Speaker, place: Place, behaviour: str) -> None:
    call_ids = []
    for length in (1, 300, 700) if "{}" in behaviour else (0,):
        outcome = speaker.ask("stream", params=chat(f"fake/{behaviour.format(length)}@3"))
        assert outcome.failure["message"]
        assert not any(choice["finish_reason"] for chunk in outcome.chunks for choice in chunk["choices"])
        body = outcome.failure["body"]
        assert body.keys() >= {"message", "type", "param", "code"}
        call_ids.append(body.get("call_id") or outcome.call_id)
    assert {row["status"] for row in place.rows(*call_ids)} == {"failed"}


@pytest.mark.parametrize("behaviour", ["silence:2000:10", "slow-first-byte:600"])
def test_a_silent_upstream_is_waited_for(speaker: Speaker, behaviour: str) -> None:
    outcome = speaker.ask("stream", params=chat(f"fake/{behaviour}"))
    assert outcome.error is None
    assert outcome.text


async def test_on_the_wire_there_is_nothing_but_data_lines_and_one_done(place: Place) -> None:
    for behaviour in ("ok", "keepalive-comments", "keepalive-data", "silence:200:5", "usage-every-chunk:3"):
        ask = Ask(f"fake/{behaviour}", stream=True, include_usage=True, marker=UNMARKED)
        async with Wire(place.port) as wire:
            await wire.post("/v1/chat/completions", ask.body())
            while await wire.read_some():
                pass
        events = bytes(wire.received.body).split(b"\n\n")
        assert events.pop() == b""
        assert events.pop() == b"data: [DONE]"
        assert all(event.startswith(b"data: {") and b"\n" not in event for event in events)


@pytest.mark.parametrize("model", ["fake/ok", "gpt-4o-mini"])
def test_the_clients_own_accumulator_agrees_with_the_whole_answer(speaker: Speaker, model: str) -> None:
    messages = say()
    gathered = speaker.ask("accumulate", params={"model": model, "messages": messages})
    if gathered.value is None and gathered.error is None:
        pytest.skip("curl accumulates nothing")
    whole = speaker.ask("create", params={"model": model, "messages": messages})
    assert gathered.value["choices"][0]["message"]["content"] == whole.text
    assert gathered.value["choices"][0]["finish_reason"] == "stop"

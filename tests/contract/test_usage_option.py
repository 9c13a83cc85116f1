"""Usage is always asked for and shown only to those who asked: nothing else of a stream may change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.place import Place, say
from tests.faults.clients import text_of
from tests.faults.wire import Received, Wire

CLIENT = {"asks": {"include_usage": True}, "refuses": {"include_usage": False}, "silent": None}
UPSTREAM = {"honours": "same-id", "ignores": "no-usage", "rejects": "reject-include-usage"}
USAGE_SOURCE = {"honours": "provider", "ignores": "estimated", "rejects": "estimated"}


async def stream(port: int, body: dict[str, Any]) -> Received:
    async with Wire(port) as wire:
        await wire.post("/v1/chat/completions", json.dumps(body).encode())
        while await wire.read_some():
            pass
    return wire.received


def without_id(body: bytes) -> bytes:
    """The body without the number that the upstream gives every answer."""
    frames = [line for line in body.split(b"\n\n") if line]
    known = {json.loads(frame[6:])["id"].encode() for frame in frames if frame != b"data: [DONE]"}
    for name in known:
        body = body.replace(name, b"ID")
    return body


@pytest.mark.parametrize("upstream", UPSTREAM)
@pytest.mark.parametrize("client", CLIENT)
async def test_what_the_client_sees_is_what_it_would_see_directly(place: Place, client: str, upstream: str) -> None:
    body: dict[str, Any] = {"model": f"fake/{UPSTREAM[upstream]}@5", "messages": say(), "stream": True}
    if CLIENT[client] is not None:
        body["stream_options"] = CLIENT[client]
    for _ in range(2):  # a refusal of the option is learnt in the first round
        direct = await stream(place.rig.upstream.port, body)
        body["messages"] = say()
        through = await stream(place.port, body)
        assert through.status == direct.status
        if direct.status == 200:
            assert without_id(bytes(through.body)) == without_id(bytes(direct.body))
        else:
            assert json.loads(through.body) == json.loads(direct.body)
        row = place.row(through.headers["x-governor-call-id"])
        if direct.status == 200:
            words = sum(bool(text_of(event)) for event in through.events)
            assert row["usage_source"] == USAGE_SOURCE[upstream]
            assert row["completion_tokens"] >= words
            assert row["cost_nusd"] > 0
        else:
            assert (row["status"], row["cost_nusd"]) == ("failed", 0)


async def raw_body(port: int, endpoint: str, body: dict[str, Any]) -> bytes:
    async with Wire(port) as wire:
        await wire.post(f"/v1/{endpoint}", json.dumps(body).encode())
        while await wire.read_some():
            pass
    return bytes(wire.received.body)


@pytest.mark.parametrize("behaviour", ["same-id@1", "same-id:40@2", "usage-every-chunk:9", "cached-usage"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_is_byte_for_byte_the_upstreams(
    place: Place, endpoint: str, streamed: bool, behaviour: str
) -> None:
    question = {"messages": say()} if endpoint.startswith("chat") else {"prompt": say()[0]["content"]}
    body = {"model": f"fake/{behaviour}", "stream": streamed} | question
    direct, through = [await raw_body(port, endpoint, body) for port in (place.rig.upstream.port, place.port)]
    if not behaviour.startswith("same-id"):
        direct, through = (raw.replace(first_id(raw), b"ID") for raw in (direct, through))
    assert through == direct


def first_id(body: bytes) -> bytes:
    """The id that stands first in an answer."""
    return body.split(b'"', 4)[3]

"""The pooled client against a scripted server: bytes pass, deadlines hold, every failure has its kind."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.answer import Fold
from backend.call import Call, Chunk, Entry
from backend.errors import (
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from backend.gateway.bill import Bill
from backend.gateway.observe import end_well, observe, settle
from backend.pricing.prices import PriceBook
from backend.settings.knobs import UpstreamSettings
from backend.upstream.openai_answer import _read_event
from backend.upstream.openai_client import OpenAIClient, _encode
from backend.upstream.request import UpstreamRequest, final_body
from tests.cache.answers import VALUE
from tests.contract import upstream as more_behaviours
from tests.fakes import call, deployment
from tests.faults.upstream import Upstream, UpstreamJournal
from tests.faults.waiting import wait_until

KNOBS = UpstreamSettings(idle_timeout_s=0.3, first_token_timeout_s=0.3, connect_timeout_s=0.3)
assert more_behaviours.ODD


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Upstream]:
    with UpstreamJournal(tmp_path / "upstream.jsonl") as journal:
        async with Upstream(journal) as found:
            yield found


@pytest.fixture
async def client() -> AsyncIterator[OpenAIClient]:
    found = OpenAIClient()
    yield found
    await found.close()


def request(url: str, behaviour: str, asked: Call | None = None, **knobs: Any) -> UpstreamRequest:
    asked = asked or call(f"fake/{behaviour}")
    local = deployment(base_url=url, api_key_env="UPSTREAM_KEY")
    deadline_s = knobs.pop("deadline_s", 5.0)
    settings = KNOBS.model_copy(update=knobs)
    return UpstreamRequest(local, asked, final_body(asked, local, ask_usage=True), settings, deadline_s)


async def collect(client: OpenAIClient, asked: UpstreamRequest) -> list[Chunk]:
    return [chunk async for chunk in client.stream(asked)]


Failing = Callable[[], Call]

# behaviour, streamed or not or both, the failure
FAILURES: list[tuple[str, tuple[bool, ...], type[UpstreamError]]] = [
    ("400", (True, False), UpstreamRefused),
    ("status:500", (True, False), UpstreamRefused),
    ("status:302", (True, False), UpstreamRefused),
    ("status:999", (True, False), UpstreamRefused),
    ("accept-then-reset", (True, False), UpstreamInterrupted),
    ("die-at-byte-n:0", (True, False), UpstreamInterrupted),
    ("die-at-byte-n:60", (True, False), UpstreamInterrupted),
    ("rst-at-byte-n:60", (True, False), UpstreamInterrupted),
    ("die-at-byte-n:400:clean", (True,), UpstreamInterrupted),
    ("headers-only", (True,), UpstreamTimeout),
    ("stall-after-n:2", (True,), UpstreamTimeout),
    ("accept-never-answer", (True,), UpstreamTimeout),
    ("garbage-json", (True, False), UpstreamInvalid),
    ("wrong-content-type", (False,), UpstreamInvalid),
    ("wrong-content-type", (True,), UpstreamInterrupted),
    ("gzip-bomb:100", (False,), UpstreamInvalid),
    ("huge-body:3", (True, False), UpstreamInvalid),
    ("odd:choices-number", (True, False), UpstreamInvalid),
    ("odd:choice-null", (True, False), UpstreamInvalid),
]


@pytest.mark.parametrize(
    ("behaviour", "stream", "kind"), [(name, stream, kind) for name, streams, kind in FAILURES for stream in streams]
)
async def test_every_failure_has_its_kind(
    server: Upstream, client: OpenAIClient, behaviour: str, stream: bool, kind: type[UpstreamError]
) -> None:
    asked = request(server.url, behaviour, call(f"fake/{behaviour}", stream=stream), max_answer_mb=2.0)
    with pytest.raises(UpstreamError) as caught:
        await collect(client, asked)
    assert type(caught.value) is kind
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize("behaviour", ["error-chunk:3", "error-chunk:3:done", "json-tail:3", "200-json-error"])
async def test_an_error_inside_an_answer_is_an_error(server: Upstream, client: OpenAIClient, behaviour: str) -> None:
    with pytest.raises(UpstreamError, match="overloaded"):
        await collect(client, request(server.url, behaviour, call(f"fake/{behaviour}", stream=True)))


async def test_a_deployment_nobody_listens_on_cannot_be_reached(client: OpenAIClient) -> None:
    for url in ("http://127.0.0.1:9/v1", "http://[::1]:9/v1", "http://nowhere.invalid/v1"):
        with pytest.raises(UpstreamUnreachable):
            await collect(client, request(url, "ok"))


async def test_a_host_that_swallows_connections_is_given_up_in_time(client: OpenAIClient) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        began = time.monotonic()
        with pytest.raises((UpstreamTimeout, UpstreamUnreachable)):
            await collect(client, request(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", "ok", call(stream=True)))
        assert time.monotonic() - began < 3


async def test_the_deadline_of_the_attempt_cuts_everything(server: Upstream, client: OpenAIClient) -> None:
    for behaviour, stream in (("slow-first-byte:9000", False), ("slow-stream:100:9000", True), ("headers-only", False)):
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await collect(
                client, request(server.url, behaviour, call(f"fake/{behaviour}", stream=stream), deadline_s=0.3)
            )
        assert time.monotonic() - began < 3


async def test_comments_keep_a_silent_stream_alive(server: Upstream, client: OpenAIClient) -> None:
    asked = call("fake/silence:900:18", stream=True)
    assert await collect(client, request(server.url, "", asked, first_token_timeout_s=5.0))


async def test_bytes_pass_as_they_are(server: Upstream, client: OpenAIClient) -> None:
    chunks = await collect(client, request(server.url, "same-id"))
    (chunk,) = chunks
    assert b'"id": "chatcmpl-same"' in chunk.data  # the server's own spaces
    assert orjson.loads(chunk.data) == chunk.event
    streamed = await collect(client, request(server.url, "", call("fake/utf-8:3", stream=True)))
    assert (
        "".join(c.event["choices"][0]["delta"].get("content", "") for c in streamed if c.event["choices"])
        == "héllo 世界 🚀 ß"
    )
    assert all(orjson.loads(each.data) == each.event for each in streamed)


async def test_only_our_own_credential_goes_out(
    server: Upstream, client: OpenAIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", " sk-ours\n")
    asked = request(server.url, "ok")
    head, _, _ = _encode(client._target(asked), asked).partition(b"\r\n\r\n")
    _, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Authorization"] == "Bearer sk-ours"
    assert set(headers) == {
        "Host",
        "Content-Type",
        "Content-Length",
        "Accept-Encoding",
        "Accept",
        "User-Agent",
        "x-governor-hops",
        "Authorization",
    }


async def test_hops_are_counted_and_never_mixed_between_calls(server: Upstream, client: OpenAIClient) -> None:
    passed = call("fake/ok")
    passed.hops = 1
    local = request(server.url, "", passed)
    direct = UpstreamRequest(local.deployment, call("fake/ok"), local.body, KNOBS, 5.0)
    for asked, hops in ((direct, "1"), (local, "2"), (direct, "1"), (local, "2")):
        assert f"x-governor-hops: {hops}\r\n".encode() in _encode(client._target(asked), asked)


async def test_a_reader_that_stops_lets_the_server_go(server: Upstream, client: OpenAIClient) -> None:
    chunks = client.stream(request(server.url, "", call("fake/slow-stream:50:20000", stream=True)))
    await anext(chunks)
    await chunks.aclose()
    await wait_until(lambda: not server.tasks, timeout_s=2)


async def test_connections_are_used_again(server: Upstream, client: OpenAIClient) -> None:
    for _ in range(5):
        await collect(client, request(server.url, "ok"))
        await collect(client, request(server.url, "", call("fake/ok", stream=True)))
        with pytest.raises(UpstreamRefused):
            await collect(client, request(server.url, "400"))
    assert len(server.connections) == 1


async def test_calls_at_once_get_each_its_own_answer(server: Upstream, client: OpenAIClient) -> None:
    texts = [f"call number {number}" for number in range(100)]
    asked = [call("fake/echo", messages=[{"role": "user", "content": text}]) for text in texts]
    answers = await asyncio.gather(*(collect(client, request(server.url, "", each)) for each in asked))
    assert [chunk.event["choices"][0]["message"]["content"].strip() for (chunk,) in answers] == texts


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"", None), (b": ping", None), (b"null", None), (b"5", None), (b'""', None), (b"[1]", None), (b"{}", b"{}")],
)
def test_what_is_no_event_is_dropped(data: bytes, shown: bytes | None) -> None:
    chunk = _read_event(data, "local")
    assert (chunk.data if chunk else None) == shown


@pytest.mark.parametrize("data", [b"x", b"{", b"NaN", b"{'a':1}", b"\xff", b'{"a":1}x'])
def test_what_is_no_json_is_an_error(data: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        _read_event(data, "local")


def test_an_empty_finish_reason_is_none() -> None:
    chunk = _read_event(b'{"choices":[{"finish_reason":"","delta":{"content":"finish_reason"}}]}', "local")
    assert chunk is not None
    assert orjson.loads(chunk.data) == {"choices": [{"finish_reason": None, "delta": {"content": "finish_reason"}}]}


NAMES = ["choices", "usage", "id", "model", "service_tier", "object", "index", "delta", "message", "finish_reason"]
NAMES += ["content", "tool_calls", "logprobs", "text", "prompt_tokens", "completion_tokens", "function", "role"]
SHAPES: st.SearchStrategy[Any] = st.recursive(
    VALUE | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
CHOICE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("index", "delta", "finish_reason", "logprobs", "text"), SHAPES)
)
EVENT = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, max_size=2) | SHAPES},
    optional={"usage": SHAPES, "id": SHAPES, "model": SHAPES, "service_tier": SHAPES},
)


@examples(max_examples=60)
@given(st.lists(EVENT, min_size=1, max_size=3), st.booleans())
def test_whatever_an_upstream_says_is_refused_or_can_be_billed(stream: list[dict[str, Any]], wanted: bool) -> None:
    entry, asked = Entry("w", "chat.completions"), call(stream=True, stream_options={"include_usage": wanted})
    entry.fold = Fold(10**9)
    for event in stream:
        try:
            chunk = _read_event(orjson.dumps(event), "local")
        except UpstreamError:
            return
        if chunk is not None:
            observe(entry, asked, chunk)
    end_well(entry, asked)
    settle(entry, asked, Bill(lambda: PriceBook([])))
    assert entry.cost_nusd in (None, 0)
    assert entry.latency_ms is not None

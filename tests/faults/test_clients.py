"""the load clients report what a naive caller would believe, and hang up when told to."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.faults.clients import Ask, ClientJournal, Cut, place_all, place_call, read_client_journal, run_load
from tests.faults.processes import free_port
from tests.faults.upstream import Upstream, read_upstream_journal


async def test_nobody_listening_is_no_answer() -> None:
    outcome = await place_call(free_port(), Ask())
    assert (outcome.end, outcome.http_status) == ("no_answer", None)


@pytest.mark.parametrize("phase", ["before_headers", "before_first_token", "mid", "after_last", "never_read"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_leaves_in_the_phase_it_was_told(upstream: Upstream, phase: str, stream: bool) -> None:
    cut = Cut(phase=phase, after_s=0.5)  # type: ignore[arg-type]
    model = "fake/slow-stream:8:200" if phase != "after_last" else "fake/ok"
    outcome = await place_call(upstream.port, Ask(model, stream=stream, cut=cut))
    streamed_mid = stream or phase != "mid"
    assert outcome.end == ("left" if streamed_mid else "ok")
    if phase == "mid" and stream:
        assert 3 <= outcome.words < 8


@pytest.mark.parametrize("cut", [Cut(words=2), Cut(bytes=600), Cut(bytes=600, reset=True)])
async def test_a_client_leaves_after_words_or_bytes(upstream: Upstream, cut: Cut) -> None:
    outcome = await place_call(upstream.port, Ask("fake/slow-stream:40:2000", stream=True, cut=cut))
    assert outcome.end == "left"
    assert 0 < outcome.words < 10


async def test_outcomes_are_journalled(upstream: Upstream, tmp_path: Path) -> None:
    journal = ClientJournal(tmp_path / "client.jsonl")
    asks = [Ask(f"fake/ok@{seed}", stream=bool(seed % 2)) for seed in range(20)]
    outcomes = await place_all(upstream.port, asks, journal, at_once=5)
    journal.close()
    lines = read_client_journal(journal.path)
    assert sorted(line["marker"] for line in lines) == sorted(ask.marker for ask in asks)
    assert all(outcome.end == "ok" for outcome in outcomes)


async def test_open_loop_load_starts_calls_on_the_clock(upstream: Upstream, tmp_path: Path) -> None:
    journal = ClientJournal(tmp_path / "client.jsonl")
    began = time.time()
    await run_load(upstream.port, [Ask("fake/slow-first-byte:300") for _ in range(10)], 100, journal)
    journal.close()
    assert all(outcome.sent_at - began < 0.3 for outcome in journal.outcomes)  # none waited for an answer


async def test_the_marker_reaches_the_upstream_by_every_endpoint(upstream: Upstream, upstream_journal: Path) -> None:
    asks = [Ask(endpoint=endpoint) for endpoint in ("chat", "text", "embeddings")]
    for ask in asks:
        await place_call(upstream.port, ask)
    markers = [record["marker"] for record in read_upstream_journal(upstream_journal)]
    assert markers == [ask.marker for ask in asks]


async def test_an_error_inside_a_stream_is_an_error() -> None:
    body = b'data: {"choices":[]}\n\ndata: {"error":{"code":"boom"}}\n\ndata: [DONE]\n\n'
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        outcome = await place_call(server.sockets[0].getsockname()[1], Ask(stream=True))
    assert (outcome.end, outcome.error_code) == ("error", "boom")


def test_the_body_names_marker_model_and_options() -> None:
    ask = Ask("fake/ok", stream=True, include_usage=True, extra={"temperature": 0})
    body = json.loads(ask.body())
    assert ask.marker in body["messages"][0]["content"]
    assert (body["stream"], body["stream_options"], body["temperature"]) == (True, {"include_usage": True}, 0)

"""Answers on the wire: one write for a whole one, uvicorn's own way for everything else."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from backend.gateway.protocol import MOST_HEAD_BYTES, Protocol
from backend.gateway.reply import send_whole
from tests.gateway.at_work import until

App = Callable[[Any, Any, Any], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def connect(app: App) -> tuple[Protocol, Wire]:
    config = uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None, proxy_headers=False)
    protocol, wire = Protocol(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def play(app: App, *requests: bytes) -> Wire:
    protocol, wire = connect(app)
    for request in requests:
        protocol.data_received(request)
    for _ in range(20):
        await asyncio.sleep(0)
    closed = wire.closed
    protocol.connection_lost(None)
    wire.closed = closed
    return wire


def whole(body: bytes = b"{}", value: bytes = b"y") -> App:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send_whole(send, 200, [(b"x", value)], body)

    return app


async def test_a_whole_answer_is_one_write() -> None:
    wire = await play(whole(), GET)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\n\r\n{}"]
    assert not wire.closed


async def test_a_connection_that_shall_close_is_closed() -> None:
    wire = await play(whole(), b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert wire.writes == [b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"]
    assert wire.closed


async def test_requests_sent_at_once_are_answered_in_order() -> None:
    wire = await play(whole(), GET * 3)
    assert [write.startswith(b"HTTP/1.1 200 OK\r\n") for write in wire.writes] == [True] * 3


async def test_head_gets_no_body() -> None:
    wire = await play(whole(), b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"".join(wire.writes).endswith(b"content-length: 2\r\n\r\n")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb\n"])
async def test_a_header_cannot_start_another(value: bytes) -> None:
    wire = await play(whole(value=value), GET)
    assert b"set-cookie" not in b"".join(wire.writes)
    assert wire.closed


async def test_a_stream_is_written_piece_by_piece() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    wire = await play(app, GET)
    assert b"".join(wire.writes).endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_an_answer_without_a_body_is_an_error() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    wire = await play(app, GET)
    assert wire.writes[0].startswith(b"HTTP/1.1 500")


async def test_an_answered_call_is_forgotten_without_the_garbage_collector() -> None:
    seen: list[weakref.ref[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(weakref.ref(send.__self__))
        await whole()(scope, receive, send)

    gc.collect()
    gc.disable()
    try:
        await play(app, GET, GET)
        assert [reference() for reference in seen] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nx: " + b"a" * MOST_HEAD_BYTES,
        b"GET /" + b"a" * MOST_HEAD_BYTES,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MOST_HEAD_BYTES // 5),
    ],
)
async def test_a_head_without_end_is_refused_and_the_connection_closed(head: bytes) -> None:
    wire = await play(whole(), *(head[at : at + 4096] for at in range(0, len(head), 4096)))
    assert len(wire.writes) == 1
    assert wire.writes[0].startswith(b"HTTP/1.1 431 ")
    assert b'"code":"headers_too_large"' in wire.writes[0]
    assert wire.closed


async def test_a_body_of_any_length_is_no_head() -> None:
    body = b"a" * (2 * MOST_HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    wire = await play(whole(), head, body[:MOST_HEAD_BYTES], body[MOST_HEAD_BYTES:], GET)
    assert [write.startswith(b"HTTP/1.1 200 OK\r\n") for write in wire.writes] == [True] * 2


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nx:"])
async def test_a_client_that_never_completes_its_head_is_let_go(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.gateway.protocol.HEAD_WITHIN_S", 0.0)
    wire = await play(whole(), *([sent] if sent else []))
    assert wire.writes[0].startswith(b"HTTP/1.1 408 ")
    assert wire.closed


async def test_what_is_not_http_is_told_so_in_the_shape_of_every_error() -> None:
    wire = await play(whole(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert wire.writes[0].startswith(b"HTTP/1.1 400 ")
    assert b'"type":"invalid_request_error"' in wire.writes[0]
    assert wire.closed


async def test_whoever_is_at_work_is_told_that_the_client_hung_up() -> None:
    told: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope["departure"].act = lambda: told.append(scope["path"])
        if scope["path"] == "/done":
            scope["departure"].act = None
            await send_whole(send, 200, [], b"{}")

    await play(app, b"GET /done HTTP/1.1\r\nhost: x\r\n\r\n")
    assert told == []
    await play(app, b"GET /done HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /open HTTP/1.1\r\nhost: x\r\n\r\n")
    assert told == ["/open"]


async def test_a_client_that_has_just_connected_when_the_worker_ends_is_still_answered() -> None:
    protocol, wire = connect(whole())
    protocol.shutdown()
    assert not wire.closed
    protocol.data_received(GET)
    await until(lambda: wire.closed)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"]
    protocol.connection_lost(None)


async def test_one_that_then_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.gateway.protocol.FIRST_WITHIN_S", 0.01)
    protocol, wire = connect(whole())
    protocol.shutdown()
    await until(lambda: wire.closed)
    assert wire.writes == []
    protocol.connection_lost(None)


async def test_one_that_was_answered_is_let_go_at_once() -> None:
    protocol, wire = connect(whole())
    protocol.data_received(GET)
    await until(lambda: bool(wire.writes))
    protocol.shutdown()
    assert wire.closed
    protocol.connection_lost(None)

"""HTTP/1.1 as servers speak it: wherever a response is cut and however it ends, it is read right or refused."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from backend.deadlines import Deadlines
from backend.upstream import connection as module
from backend.upstream.connection import Connection, ConnectionCut
from backend.upstream.connections import Connections, Origin
from tests.faults.waiting import wait_until

ASK = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: z\r\n\r\n"
UNMEASURED = b"HTTP/1.1 200 OK\r\n\r\n{}"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(*pieces: bytes, hangs_up: bool = False) -> Script:
    """A server that reads a request and says these pieces, each in a packet of its own."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if hangs_up:
                return

    return script


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Origin]:
    """The origin of a server that plays the script on every connection."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    try:
        yield Origin("127.0.0.1", server.sockets[0].getsockname()[1], tls=False)
    finally:
        server.close()


async def whole(connection: Connection) -> bytes:
    body = b""
    while piece := await connection.read():
        body += piece
    return body


async def ask(origin: Origin) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection can be used again."""
    pool = Connections(Deadlines())
    connection = await pool.take(origin, 1.0)
    try:
        await connection.ask(ASK)
        return connection.status, await whole(connection), connection.let_go()
    finally:
        connection.close()


@pytest.mark.parametrize("response", [PLAIN, CHUNKED], ids=["measured", "chunked"])
async def test_a_response_may_be_cut_anywhere(response: bytes) -> None:
    for cut in range(1, len(response)):
        async with serving(says(response[:cut], response[cut:])) as origin:
            assert await ask(origin) == (200, b"{}", True)


async def test_a_response_may_come_byte_by_byte() -> None:
    async with serving(says(*(bytes([byte]) for byte in CHUNKED))) as origin:
        assert await ask(origin) == (200, b"{}", True)


@pytest.mark.parametrize("response", [PLAIN, CHUNKED], ids=["measured", "chunked"])
async def test_a_response_that_ends_early_is_cut(response: bytes) -> None:
    for cut in range(len(response) - 1):
        async with serving(says(response[:cut], hangs_up=True)) as origin:
            with pytest.raises(ConnectionCut):
                await ask(origin)


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with serving(says(UNMEASURED, hangs_up=True)) as origin:
        assert await ask(origin) == (200, b"{}", False)


async def test_interim_responses_are_passed_over() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with serving(says(b"HTTP/1.1 100 Continue\r\n\r\n", interim + PLAIN)) as origin:
        assert await ask(origin) == (200, b"{}", True)


@pytest.mark.parametrize(
    "rest", [PLAIN, b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"], ids=["again", "noise", "another"]
)
async def test_what_nobody_asked_for_ends_the_connection_and_nothing_else(rest: bytes) -> None:
    async with serving(says(PLAIN + rest)) as origin:
        status, body, reusable = await ask(origin)
    assert (status, body, reusable) == (200, b"{}", False)


async def test_a_server_that_closes_is_not_used_again() -> None:
    closing = PLAIN.replace(b"Content-Type", b"Connection: close\r\nContent-Type")
    async with serving(says(closing)) as origin:
        assert await ask(origin) == (200, b"{}", False)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [(b"gzip", gzip.compress(b"{}", mtime=0)), (b"deflate", zlib.compress(b"{}")), (b"identity", b"{}")],
)
async def test_a_content_encoding_is_undone(name: bytes, encoded: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (name, len(encoded))
    async with serving(says(head, encoded)) as origin:
        assert await ask(origin) == (200, b"{}", True)


@pytest.mark.parametrize(
    "response",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["no HTTP", "two lengths", "length and chunks", "unknown encoding", "no gzip", "upgrade"],
)
async def test_what_has_two_readings_is_refused(response: bytes) -> None:
    async with serving(says(response)) as origin:
        with pytest.raises(ConnectionCut):
            await asyncio.wait_for(ask(origin), 5)


async def test_a_head_without_end_is_refused() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: " + b"y" * 1000 + b"\r\n")
            await writer.drain()

    async with serving(script) as origin:
        with pytest.raises(ConnectionCut):
            await asyncio.wait_for(ask(origin), 5)


async def test_a_fast_server_waits_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BUFFERED_BYTES", 1000)
    body = bytes(range(256)) * 4000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(says(head, body)) as origin:
        connection = await Connections(Deadlines()).take(origin, 1.0)
        await connection.ask(ASK)
        got = b""
        while piece := await connection.read():
            await asyncio.sleep(0.001)
            assert len(piece) < len(body)
            got += piece
        assert got == body
        connection.close()


async def test_connections_are_kept_for_their_origin_and_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Connections(Deadlines())
    async with serving(says(PLAIN)) as here, serving(says(PLAIN)) as there:
        used = []
        for origin in (here, here, there):
            connection = await pool.take(origin, 1.0)
            await connection.ask(ASK)
            await whole(connection)
            pool.give_back(origin, connection)
            used.append(connection)
        assert used[0] is used[1]
        assert used[1] is not used[2]
        monkeypatch.setattr("backend.upstream.connections.KEEPALIVE_S", -1.0)
        assert await pool.take(here, 1.0) is not used[0]
        pool.close()


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used() -> None:
    pool = Connections(Deadlines())
    async with serving(says(PLAIN, hangs_up=True)) as origin:
        first = await pool.take(origin, 1.0)
        await first.ask(ASK)
        await whole(first)
        pool.give_back(origin, first)
        await wait_until(lambda: not first.idle, timeout_s=2)
        assert await pool.take(origin, 1.0) is not first
        pool.close()


async def test_a_call_that_is_cancelled_leaves_no_connection_to_the_next() -> None:
    pool = Connections(Deadlines())
    async with serving(says(PLAIN[:-1])) as origin:
        connection = await pool.take(origin, 1.0)
        await connection.ask(ASK)
        task = asyncio.create_task(whole(connection))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pool.give_back(origin, connection)
        assert await pool.take(origin, 1.0) is not connection
        pool.close()

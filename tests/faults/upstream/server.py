"""the scripted server: parses HTTP itself so that every byte and every close on the wire is the script's."""

import asyncio
import contextlib
import itertools
import json
import time
from types import TracebackType
from typing import Self, cast

import httptools

from tests.faults.upstream.answer import Asked, read_ask
from tests.faults.upstream.behaviours import BEHAVIOURS
from tests.faults.upstream.exchange import Exchange, PeerLeftError
from tests.faults.upstream.journal import Acceptance, UpstreamJournal

ENDPOINTS = {"/v1/chat/completions": "chat", "/v1/completions": "text", "/v1/embeddings": "embeddings"}


class Upstream:
    """The scripted upstream on loopback; an async context manager that serves while it is open."""

    def __init__(self, journal: UpstreamJournal, port: int = 0) -> None:
        self.journal = journal
        self.port = port
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._epoch = time.time_ns()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL a deployment is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def accept(self, asked: Asked) -> Acceptance:
        """Journal a request as accepted."""
        acceptance = Acceptance(
            id=f"up-{self._epoch:x}-{next(self._numbers)}",
            marker=asked.marker,
            ordinal=self.journal.next_ordinal(asked.marker),
            model=asked.model,
            endpoint=asked.endpoint,
            stream=asked.stream,
            accepted_at=time.time(),
            prompt_tokens=len(asked.prompt) // 4 + 1,
        )
        self.journal.accept(acceptance)
        return acceptance

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.transport.abort()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; requests on it are answered one after the other."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body = bytearray()
        self._exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports do not inherit from asyncio's
        self._upstream.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: the peer left, or the script closed."""
        self._upstream.connections.discard(self)
        if self._exchange is not None:
            self._exchange.acceptance.peer_left_at = time.time()
            self._exchange.writable.set()
            self._exchange.gone.set()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Called by asyncio when the peer reads too slowly."""
        if self._exchange is not None:
            self._exchange.writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        if self._exchange is not None:
            self._exchange.writable.set()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._path, self._body = b"", bytearray()

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser: route the request."""
        endpoint = ENDPOINTS.get(self._path.decode().partition("?")[0])
        if endpoint is None:
            self.transport.write(_models_reply(self._path))
            return
        asked = read_ask(endpoint, bytes(self._body))
        self._exchange = Exchange(asked, self._upstream.accept(asked), self.transport)
        task = asyncio.create_task(self._answer(self._exchange))
        self._upstream.tasks.add(task)
        task.add_done_callback(self._upstream.tasks.discard)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            with contextlib.suppress(PeerLeftError):
                await BEHAVIOURS.get(exchange.asked.behaviour, _unknown_model)(exchange)
            if exchange.acceptance.end == "open":
                exchange.acceptance.end = "peer_left"
        except asyncio.CancelledError:
            exchange.acceptance.end = "stopped"
            raise
        finally:
            exchange.close_books()
            self._upstream.journal.end(exchange.acceptance)


async def _unknown_model(exchange: Exchange) -> None:
    await exchange.refuse(404, f"the model {exchange.asked.model!r} does not exist")


def _models_reply(path: bytes) -> bytes:
    if path != b"/v1/models":
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    models = [
        {"id": f"fake/{name}", "object": "model", "created": 1_700_000_000, "owned_by": "fake"} for name in BEHAVIOURS
    ]
    body = json.dumps({"object": "list", "data": models}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

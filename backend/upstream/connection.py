"""One HTTP/1.1 connection to a deployment: a request goes out in one write, its response is read as it arrives.

Parsed by httptools (llhttp, strict). What ends a body is its length, its last chunk, or, where neither is said, the
connection's end. A connection that said anything nobody asked for is never used again.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Protocol

import httptools

_MOST_HEAD_BYTES = 64 * 1024
_MOST_BUFFERED_BYTES = 256 * 1024
_WBITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 47}


class ConnectionCut(Exception):
    """The connection ended, or said something that is not HTTP, before the response was complete."""


class Inflater(Protocol):
    """What undoes a content encoding."""

    def decompress(self, data: bytes, /) -> bytes:
        """The plain bytes of the next piece."""
        ...


class Connection(asyncio.Protocol):
    """Carries one request at a time; ``idle`` says whether it can carry another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._cut: str | None = None
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        """Whether the body has arrived to its end."""
        self._pieces: list[bytes] = []
        self._asked = self._keeps = False
        self._head_bytes = self._buffered = 0
        self._measured = self._has_head = False
        self._inflater: Inflater | None = None

    @property
    def idle(self) -> bool:
        """Whether the last response is over and the server keeps the connection."""
        return not self._asked and self._cut is None and self._transport is not None

    async def ask(self, message: bytes) -> None:
        """Send a whole request and wait for the head of its response; raises ``ConnectionCut``."""
        if self._transport is None or self._cut is not None:
            raise ConnectionCut(self._cut or "closed")
        self._reset()
        self._asked = True
        self._transport.write(message)
        while not self._has_head:
            await self._wait()

    async def read(self) -> bytes:
        """The bytes of the body that have arrived, empty at its end; raises ``ConnectionCut``."""
        while not self._pieces and not self.complete:
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._buffered >= _MOST_BUFFERED_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._buffered = 0
        return data

    def let_go(self) -> bool:
        """End this request; whether the connection may carry another one."""
        reusable = self.complete and self._keeps and self._cut is None
        if reusable:
            self._asked = False
        else:
            self.close()
        return reusable

    def close(self) -> None:
        """Cut the connection at once."""
        self._cut = self._cut or "closed"
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._cut is not None:
            raise ConnectionCut(self._cut)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self, reason: str) -> None:
        self._cut = self._cut or reason
        self._wake()

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if not self._asked or self.complete:
            self.close()  # nobody asked
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - whatever the parser thinks of it, it is no response
            self._end(f"not HTTP: {type(error).__name__}")
            self.close()
        else:
            if not self._has_head and self._head_bytes > _MOST_HEAD_BYTES:
                self._end("a head without end")
                self.close()
        if self._has_head or self.complete:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a body without a length, else of everything."""
        self._transport = None
        if exc is None and self._has_head and not self._measured and self._cut is None:
            self.complete = True
        self._end("closed")

    # ---- called by the parser

    def on_message_begin(self) -> None:
        """A second response to one request would be taken for the next one's."""
        if self.complete:
            raise ConnectionCut("more than one response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; repeated ones are joined as RFC 9110 says."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """The head is there; interim responses (1xx) are passed over."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status, self._has_head = status, True
        self._measured = "content-length" in self.headers or "transfer-encoding" in self.headers or status in (204, 304)
        encoding = self.headers.get("content-encoding", "identity").lower().encode()
        if encoding != b"identity":
            self._inflater = zlib.decompressobj(wbits=_WBITS[encoding])

    def on_body(self, data: bytes) -> None:
        """Keep a piece until it is read; a server that is faster than its reader waits."""
        plain = data if self._inflater is None else self._inflater.decompress(data)
        if plain:
            self._pieces.append(plain)
        if self._buffered < _MOST_BUFFERED_BYTES <= self._buffered + len(plain) and self._transport is not None:
            self._transport.pause_reading()
        self._buffered += len(plain)

    def on_message_complete(self) -> None:
        """The response is over, unless it was an interim one."""
        self.complete, self._keeps = self._has_head, self._parser.should_keep_alive()

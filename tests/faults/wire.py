"""a raw HTTP/1.1 client connection: sees every body byte, every event and how the connection really ended."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Self

import httptools

LINGER_ZERO = struct.pack("ii", 1, 0)
READ_BYTES = 65_536


@dataclass
class Received:
    """What has arrived so far. `complete` is true only when HTTP says the message ended properly."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    @property
    def streamed(self) -> bool:
        """Whether the answer came as server-sent events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[bytes]:
        """Payloads of the whole events so far; comments and empty lines are no events."""
        blocks = bytes(self.body).replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
        return [event for event in map(_data_of, blocks) if event is not None]


def _data_of(block: bytes) -> bytes | None:
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


class Wire:
    """One connection with one request on it; an async context manager."""

    def __init__(self, port: int, read_limit: int = READ_BYTES) -> None:
        self.received = Received()
        self._port = port
        self._read_limit = read_limit
        self._parser = httptools.HttpResponseParser(self)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=self._read_limit)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a request whole."""
        fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | (headers or {})).items())
        self._writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        await self._writer.drain()

    async def read_some(self) -> bool:
        """Read one piece; false when there is nothing more to come."""
        data = await self._reader.read(self._read_limit)
        if data:
            self._parser.feed_data(data)
        return bool(data) and not self.received.complete

    async def leave(self, reset: bool = False) -> None:
        """Close the connection, or reset it."""
        if reset:
            sock: socket.socket = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            self._writer.transport.abort()
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.received.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.received.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self.received.body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.received.complete = True

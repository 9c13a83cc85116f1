"""one accepted request on its connection: exact control over bytes, pauses and the way it ends."""

import asyncio
import hashlib
import json
import socket
import struct
from typing import Any

from tests.faults.upstream.answer import Answer, Asked, Event
from tests.faults.upstream.journal import Acceptance

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
FLUSH_BYTES = 65_536
LINGER_ZERO = struct.pack("ii", 1, 0)
Headers = dict[str, str]


class PeerLeftError(Exception):
    """The caller closed the connection while the script was still answering."""


class Exchange:
    """A request and the transport its answer goes to. Sending after the caller left raises PeerLeftError."""

    def __init__(self, asked: Asked, acceptance: Acceptance, transport: asyncio.Transport) -> None:
        self.asked = asked
        self.acceptance = acceptance
        self.answer = Answer(asked, id=acceptance.id)
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self._transport = transport
        self._shown = hashlib.sha256()
        self._unsent = bytearray()

    async def pause(self, seconds: float) -> None:
        """Let what was sent leave as a segment of its own, wait, but notice at once when the caller leaves."""
        self._flush()
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise PeerLeftError

    async def part(self) -> None:
        """Let what was sent leave as a segment of its own, without waiting."""
        self._flush()
        await asyncio.sleep(0)

    async def wait_until_gone(self) -> None:
        """Answer nothing more until the caller leaves."""
        self._flush()
        await self.gone.wait()
        raise PeerLeftError

    async def open_stream(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        """Send the head of a chunked answer with status 200."""
        await self._head(200, {"content-type": content_type, "transfer-encoding": "chunked"})

    async def send(self, payload: bytes) -> None:
        """Send one piece of a chunked answer."""
        await self._write(b"%x\r\n%b\r\n" % (len(payload), payload))
        self.acceptance.bytes_sent += len(payload)

    async def send_event(self, event: Event) -> None:
        """Send an event and note the text and usage it showed."""
        await self.send(event.raw)
        self.note(event)

    def note(self, event: Event) -> None:
        """Note the text and usage that an event showed."""
        if event.text:
            self.acceptance.words += 1
            self._shown.update(event.text.encode("utf-8", "surrogatepass"))
        if event.usage is not None:
            self.acceptance.stated = event.usage

    async def finish(self, end: str = "complete") -> None:
        """End a chunked answer properly."""
        await self._write(b"0\r\n\r\n")
        self._flush()
        self.acceptance.end = end

    async def reply(self, status: int, body: bytes, headers: Headers | None = None, end: str = "refused") -> None:
        """Send a whole answer with a content-length."""
        head = {"content-type": "application/json", "content-length": str(len(body))} | (headers or {})
        await self._head(status, head)
        await self.send_raw(body)
        self._flush()
        self.acceptance.end = end

    async def refuse(self, status: int, message: str, headers: Headers | None = None) -> None:
        """Send an error in OpenAI's shape."""
        await self.reply(status, error_body(message, status), headers)

    async def send_answer(self) -> None:
        """Answer honestly, streamed or whole as asked."""
        if self.asked.stream:
            await self.stream(self.answer.events())
        else:
            await self.reply_with(self.answer.body())

    async def stream(self, events: list[Event], end: str = "complete") -> None:
        """Stream `events` without pauses."""
        await self.open_stream()
        for event in events:
            await self.send_event(event)
        await self.finish(end)

    async def reply_with(self, body: dict[str, Any], end: str = "complete") -> None:
        """Reply whole with `body`, noting the text and usage it states."""
        await self.reply(200, json.dumps(body).encode(), end=end)
        self.note(Event(b"", self.answer.content, body.get("usage")))
        self.acceptance.words = len(self.answer.words)

    async def start_body(self, length: int) -> None:
        """Send the head of a whole JSON answer that promises `length` bytes."""
        await self._head(200, {"content-type": "application/json", "content-length": str(length)})

    async def send_raw(self, payload: bytes) -> None:
        """Send bytes of a whole answer as they are."""
        await self._write(payload)
        self.acceptance.bytes_sent += len(payload)

    async def die(self, end: str = "died") -> None:
        """Close the connection (FIN) after what was sent so far has left."""
        self.acceptance.end = end
        self._flush()
        await asyncio.sleep(0)
        self._transport.close()

    async def reset(self) -> None:
        """Reset the connection (RST); a short wait first lets the peer read what was sent."""
        self.acceptance.end = "reset"
        self._flush()
        await asyncio.sleep(0.005)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._transport.abort()

    def close_books(self) -> None:
        """Fill in what a provider would bill: the prompt and every token produced; a mere refusal bills nothing."""
        record = self.acceptance
        record.content_sha = self._shown.hexdigest()
        if record.end in ("refused", "open") or (record.end == "faulty" and not record.words):
            return
        produced = record.words if self.asked.stream else len(self.answer.words)
        stated = record.stated or {}
        record.billed = {
            "prompt_tokens": stated.get("prompt_tokens", self.answer.prompt_tokens),
            "completion_tokens": stated.get("completion_tokens", produced),
        }

    async def _head(self, status: int, headers: Headers) -> None:
        self.acceptance.status = status
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{lines}x-request-id: {self.acceptance.id}\r\n\r\n"
        await self._write(head.encode())

    async def _write(self, payload: bytes) -> None:
        if not self.writable.is_set():
            await self.writable.wait()
        if self.gone.is_set():
            raise PeerLeftError
        self._unsent += payload
        if len(self._unsent) > FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._unsent and not self._transport.is_closing():
            self._transport.write(bytes(self._unsent))
        self._unsent.clear()


def error_body(message: str, status: int) -> bytes:
    """An error body in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": str(status)}}).encode()

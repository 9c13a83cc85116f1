"""uvicorn's HTTP protocol with three additions: whole answers leave in one write, heads are bounded, departures told.

uvicorn waits for ever for a request's head and keeps any length of it; here both have a limit (FAILURES part B). Of a
client that hangs up it tells those who ask for more of the request; that would take a task for each call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from backend.errors import BadRequest, GatewayError, HeadTimeout, HeadTooLarge
from backend.gateway.reply import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from uvicorn._types import ASGI3Application

    Message = MutableMapping[str, Any]


MOST_HEAD_BYTES = 64 * 1024
HEAD_WITHIN_S = 30.0
FIRST_WITHIN_S = 1.0
"""A worker that ends gives whoever has connected, and said nothing yet, so long to ask."""


class Departure:
    """What is to be done when the client of a connection hangs up: ``scope["departure"]`` of each of its requests."""

    __slots__ = ("act",)

    def __init__(self) -> None:
        self.act: Callable[[], None] | None = None


class Protocol(HttpToolsProtocol):
    """Whole answers to anything but HEAD are written here; all else is written by uvicorn."""

    _departure: Departure
    _is_ending = False
    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that connects owes us a head."""
        super().connection_made(transport)
        self._departure = Departure()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is owed any more; whoever is at work for this client is told."""
        self._forget_timer()
        super().connection_lost(exc)
        act, self._departure.act = self._departure.act, None
        if act is not None:
            act()

    def data_received(self, data: bytes) -> None:
        """Parse what came; bound what is not yet a complete head."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"The headers are larger than {MOST_HEAD_BYTES // 1024} kB."))
            elif self._head_timer is None:
                self._await_head()

    def shutdown(self) -> None:
        """The worker ends: a client that has just connected may still ask once, any other only hears its answer out."""
        if self.cycle is not None:
            super().shutdown()
            return
        self._is_ending = True
        self.loop.call_later(FIRST_WITHIN_S, self._end_unasked)

    def on_headers_complete(self) -> None:
        """The head is there in time."""
        self._in_head = False
        self._forget_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes begin another head."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told so as every other error."""
        self._refuse(BadRequest(msg))

    def _end_unasked(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._give_up_head)

    def _give_up_head(self) -> None:
        self._refuse(HeadTimeout(f"The headers did not arrive within {HEAD_WITHIN_S:g} seconds."))

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: GatewayError) -> None:
        """Answer what is no request, and close the connection; nothing of it reaches the application."""
        body = error.body()
        headers = (*JSON, *error.headers(), (b"content-length", b"%d" % len(body)), (b"connection", b"close"))
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[error.status], lines, body))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._is_ending:
            cycle.keep_alive = False
        cycle.scope["departure"] = self._departure  # type: ignore[typeddict-unknown-key]
        if cycle.scope["method"] != "HEAD":
            cycle.__class__ = _Cycle
        super()._start_asgi_task(cycle, app)


class _Cycle(RequestResponseCycle):
    """Keeps an answer's head until it is known whether its body comes whole."""

    _head: Message | None = None

    async def send(self, message: Message) -> None:  # type: ignore[override]
        head, self._head = self._head, None
        if message["type"] == "http.response.start" and not self.response_started:
            self._head = message  # in place of one whose body never came
            return
        if head is not None:
            if self._write_whole(head, message):
                return
            await super().send(head)  # type: ignore[arg-type]
        await super().send(message)  # type: ignore[arg-type]

    def _write_whole(self, start: Message, message: Message) -> bool:
        headers = start["headers"]
        if message.get("more_body") or self.flow.write_paused or self.disconnected or self.response_started:
            return False
        lines = [b"%b: %b\r\n" % header for header in headers]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"%b%b\r\n" % (STATUS_LINE[start["status"]], b"".join(lines))
        if head.count(b"\n") != len(lines) + 2 or not headers or headers[-1][0] != b"content-length":
            return False  # uvicorn knows what to do, or says what is wrong
        self.transport.write(head + message["body"])
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

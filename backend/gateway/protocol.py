"""uvicorn's HTTP protocol, with one write for a whole answer: head and body leave together, in one packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from uvicorn._types import ASGI3Application

    Message = MutableMapping[str, Any]


class Protocol(HttpToolsProtocol):
    """Whole answers to anything but HEAD are written here; all else is written by uvicorn."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
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

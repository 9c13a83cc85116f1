"""A client of the ASGI application inside the test's own process: sends, leaves, reads slowly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

import orjson

from backend.gateway.control import Control
from backend.gateway.http import Application
from backend.gateway.protocol import Departure
from backend.gateway.views import Views
from tests.fakes import Scene, call

Message = MutableMapping[str, Any]


class Leaving(asyncio.Event):
    """Set when the client hangs up; the protocol then tells whoever is at work for it."""

    def __init__(self) -> None:
        super().__init__()
        self.departure = Departure()

    def set(self) -> None:
        super().set()
        act, self.departure.act = self.departure.act, None
        if act is not None:
            act()


class Visit:
    """One request; `messages` is what was sent back, `left` lets the client hang up, `reading` lets it read."""

    def __init__(self, *pieces: bytes, headers: dict[bytes, bytes] | None = None) -> None:
        self.pieces = list(pieces)
        self.headers = headers or {}
        self.messages: list[Message] = []
        self.left = Leaving()
        self.reading = asyncio.Event()
        self.reading.set()

    async def receive(self) -> Message:
        if self.pieces:
            piece = self.pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reading.wait()
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def sent_headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        *whole, rest = self.body.split(b"\n\n")
        assert rest == b""
        return [event.removeprefix(b"data: ") for event in whole]

    @property
    def complete(self) -> bool:
        """Whether the answer was ended by the application."""
        return bool(self.messages) and not self.messages[-1].get("more_body", False)


def chat(**body: Any) -> Visit:
    """A request for a chat."""
    return Visit(orjson.dumps(call(**body).body))


def application(scene: Scene) -> Application:
    """The application around a scene; it has no control endpoints."""
    return Application(scene.gateway, Views(scene.gateway, cast("Control", None)))


async def visit(app: Application, visit: Visit, path: str = "/v1/chat/completions", method: str = "POST") -> Visit:
    """Play one request to its end."""
    head = {"path": path, "method": method, "headers": list(visit.headers.items())}
    scope = {"type": "http", "departure": visit.left.departure, **head}
    await app(scope, visit.receive, visit.send)
    return visit

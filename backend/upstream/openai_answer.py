"""What an OpenAI-compatible server answered: a whole body or a stream of events, bounded in size and in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import orjson

from backend.call import Chunk
from backend.deadlines import Deadlines
from backend.errors import UpstreamError, UpstreamInterrupted, UpstreamInvalid, UpstreamRefused, UpstreamTimeout
from backend.upstream.connection import Connection, ConnectionCut
from backend.upstream.refusals import in_band_error, refusal
from backend.upstream.request import UpstreamRequest
from backend.upstream.sse import EventReader

_MAX_ERROR_BYTES = 64 * 1024


class EventStream:
    """The events of one response; ``read`` gives what one read of the socket completed."""

    def __init__(self, connection: Connection, request: UpstreamRequest, deadlines: Deadlines) -> None:
        self._connection = connection
        self._name = request.deployment.name
        self._idle_s = request.settings.idle_timeout_s
        self._ends_at = time.monotonic() + request.deadline_s
        self._left = int(request.settings.max_answer_mb * 1e6)
        self._reader = EventReader(self._left)
        self._deadlines = deadlines
        self._end: UpstreamError | bool = False

    async def read(self) -> list[Chunk] | None:
        """The next chunks, perhaps none; None after the last. Raises ``UpstreamError`` subclasses only."""
        if isinstance(self._end, UpstreamError):
            raise self._end
        if self._end:
            return None
        piece = await self._read_piece()
        chunks: list[Chunk] = []
        try:
            self._add_events(piece, chunks)
        except UpstreamError as error:  # what came before it is shown first
            self._end = error
        return chunks

    def _add_events(self, piece: bytes, chunks: list[Chunk]) -> None:
        try:
            for data in self._reader.feed(piece):
                if data == b"[DONE]":
                    self._end = True
                    return
                chunk = _read_event(data, self._name)
                if chunk is not None:
                    chunks.append(chunk)
        except ValueError:
            raise UpstreamInvalid(f"Deployment {self._name} sent an event that is too large.") from None

    async def _read_piece(self) -> bytes:
        try:
            with self._deadlines.within(min(self._idle_s, self._ends_at - time.monotonic())):
                piece = await self._connection.read()
        except TimeoutError:
            raise UpstreamTimeout(f"Deployment {self._name} fell silent.") from None
        except ConnectionCut:
            raise _cut(self._name) from None
        if not piece:
            raise self._last_word()
        self._left -= len(piece)
        if self._left < 0:
            raise UpstreamInvalid(f"The answer of deployment {self._name} is too large.")
        return piece

    def _last_word(self) -> UpstreamError:
        """Why the stream ended: an error without a line break behind it, or nobody knows."""
        rest = self._reader.rest
        if rest.startswith(b"{"):
            try:
                _read_event(rest, self._name)
            except UpstreamError as error:
                return error if not isinstance(error, UpstreamInvalid) else _cut(self._name)
        return _cut(self._name)


async def read_whole(connection: Connection, request: UpstreamRequest) -> Chunk:
    """The whole body as one chunk; raises ``UpstreamError`` subclasses only. The caller keeps the time."""
    name = request.deployment.name
    data = await _gather(connection, name, int(request.settings.max_answer_mb * 1e6))
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid(f"Deployment {name} answered with something that is not JSON.") from None
    if isinstance(event, dict) and event.get("error"):
        raise in_band_error(name, event["error"])
    field = "data" if request.call.endpoint == "embeddings" else "choices"
    if not isinstance(event, dict) or not isinstance(event.get(field), list) or not _is_sound(event):
        raise UpstreamInvalid(f"Deployment {name} answered without {field}.")
    return Chunk(data, event)


def _is_sound(event: dict[str, Any]) -> bool:
    """Whether choices are where they should be; what is inside them is between the upstream and the caller."""
    choices = event.get("choices")
    if choices is None:
        return True
    if type(choices) is not list:
        return False
    for choice in choices:
        if type(choice) is not dict:
            return False
        spoken = choice.get("delta") or choice.get("message")
        if spoken is not None and not isinstance(spoken, dict):
            return False
    return True


async def read_refusal(connection: Connection, request: UpstreamRequest) -> UpstreamRefused:
    """The error that a response with another status than 200 means."""
    body = bytearray()
    with contextlib.suppress(ConnectionCut, TimeoutError):
        async with asyncio.timeout(5):
            while len(body) < _MAX_ERROR_BYTES and (piece := await connection.read()):
                body += piece
    return refusal(request.deployment.name, connection.status, connection.headers, bytes(body))


async def _gather(connection: Connection, name: str, most_bytes: int) -> bytes:
    pieces, size = [], 0
    try:
        while piece := await connection.read():
            pieces.append(piece)
            size += len(piece)
            if size > most_bytes:
                raise UpstreamInvalid(f"The answer of deployment {name} is too large.")
    except ConnectionCut:
        raise _cut(name) from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _cut(name: str) -> UpstreamInterrupted:
    return UpstreamInterrupted(f"The answer of deployment {name} ended before it was complete.")


def _read_event(data: bytes, name: str) -> Chunk | None:
    try:
        event: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        if data[:1] in (b":", b""):  # a keep-alive dressed as data
            return None
        raise UpstreamInvalid(f"Deployment {name} sent an event that is not JSON.") from None
    if not isinstance(event, dict):
        return None
    if event.get("error"):
        raise in_band_error(name, event["error"])
    if not _is_sound(event):
        raise UpstreamInvalid(f"Deployment {name} sent an event whose choices are none.")
    if b'"finish_reason":""' in data or b'"finish_reason": ""' in data:
        for choice in event.get("choices") or ():
            choice["finish_reason"] = choice.get("finish_reason") or None
        data = orjson.dumps(event)
    return Chunk(data, event)

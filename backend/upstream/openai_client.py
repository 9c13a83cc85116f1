"""OpenAI-compatible servers (OpenAI, vLLM, TGI, Ollama, SGLang, …) over one pooled HTTP client; bytes pass through."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import orjson
from yarl import URL

from backend.answer import Whole, unfold
from backend.call import Chunk, Chunks
from backend.deadlines import Deadlines
from backend.errors import UpstreamInterrupted, UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from backend.settings.knobs import Deployment
from backend.upstream.connection import Connection, ConnectionCut
from backend.upstream.connections import Connections, Origin
from backend.upstream.openai_answer import EventStream, read_refusal, read_whole
from backend.upstream.request import UpstreamRequest

_OPENAI_URL = "https://api.openai.com/v1"
_PATHS = {"chat.completions": "chat/completions", "completions": "completions", "embeddings": "embeddings"}


@dataclass(slots=True)
class Target:
    """Where a deployment takes an endpoint's calls, and the head of every request to it."""

    deployment: Deployment
    origin: Origin
    head: bytes


class OpenAIClient:
    """One pool per worker; no per-request state is kept, so no caller's credential can stick."""

    def __init__(self) -> None:
        self._deadlines = Deadlines()
        self._connections = Connections(self._deadlines)
        self._targets: dict[tuple[int, str], Target] = {}
        """By identity of the frozen deployment, which the value keeps alive: hashing it would cost more."""

    async def close(self) -> None:
        """Close every pooled connection."""
        self._connections.close()

    def stream(self, request: UpstreamRequest) -> Chunks:
        """Send the request; the answer's chunks raise ``UpstreamError`` subclasses only."""
        return self._stream(request) if request.call.stream else Whole(self._ask(request))

    async def _ask(self, request: UpstreamRequest) -> Chunk:
        target = self._target(request)
        try:
            with self._deadlines.within(request.deadline_s):
                return await self._take_whole(await self._post(target, request), target, request)
        except TimeoutError:
            raise _late(request) from None

    async def _stream(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        target = self._target(request)
        try:
            with self._deadlines.within(min(request.settings.first_token_timeout_s, request.deadline_s)):
                connection = await self._post(target, request)
        except TimeoutError:
            raise _late(request) from None
        if connection.status != 200 or _content_type(connection) == "application/json":
            for chunk in await self._unfold(connection, target, request):
                yield chunk
            return
        events = EventStream(connection, request, self._deadlines)
        try:
            while (chunks := await events.read()) is not None:
                for chunk in chunks:
                    yield chunk
        finally:
            self._connections.give_back(target.origin, connection)

    async def _unfold(self, connection: Connection, target: Target, request: UpstreamRequest) -> list[Chunk]:
        """The server did not stream although it was asked to."""
        try:
            with self._deadlines.within(request.deadline_s):
                whole = await self._take_whole(connection, target, request)
        except TimeoutError:
            raise _late(request) from None
        try:
            return [Chunk(orjson.dumps(event), event) for event in unfold(whole.event, with_usage=True)]
        except (TypeError, ValueError, AttributeError):
            name = request.deployment.name
            raise UpstreamInvalid(f"Deployment {name} answered with something that cannot be streamed.") from None

    async def _take_whole(self, connection: Connection, target: Target, request: UpstreamRequest) -> Chunk:
        try:
            if connection.status != 200:
                raise await read_refusal(connection, request)
            return await read_whole(connection, request)
        finally:
            self._connections.give_back(target.origin, connection)

    async def _post(self, target: Target, request: UpstreamRequest) -> Connection:
        """The connection that has the response's head; the caller gives it back."""
        connection = await self._connect(target, request)
        try:
            await connection.ask(_encode(target, request))
        except ConnectionCut:
            message = f"Deployment {request.deployment.name} closed the connection before it answered."
            raise UpstreamInterrupted(message) from None
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect(self, target: Target, request: UpstreamRequest) -> Connection:
        name = request.deployment.name
        try:
            return await self._connections.take(target.origin, request.settings.connect_timeout_s)
        except TimeoutError:
            raise UpstreamUnreachable(f"Deployment {name} could not be reached in time.") from None
        except OSError:
            raise UpstreamUnreachable(f"Deployment {name} could not be reached.") from None

    def _target(self, request: UpstreamRequest) -> Target:
        deployment, endpoint = request.deployment, request.call.endpoint
        known = self._targets.get((id(deployment), endpoint))
        if known is None:
            if len(self._targets) > 10_000:
                self._targets.clear()
            known = self._targets[id(deployment), endpoint] = _build_target(deployment, endpoint)
        return known


def _build_target(deployment: Deployment, endpoint: str) -> Target:
    url = URL(f"{deployment.base_url or _OPENAI_URL}/{_PATHS[endpoint]}")
    lines = [
        f"POST {url.raw_path_qs} HTTP/1.1",
        f"Host: {url.host_port_subcomponent}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "Accept-Encoding: identity",
        "User-Agent: governor",
    ]
    key = os.environ.get(deployment.api_key_env) if deployment.api_key_env else None
    if key:
        lines.append(f"Authorization: Bearer {''.join(key.split())}")
    origin = Origin(url.raw_host or "", url.port or 0, url.scheme == "https")
    return Target(deployment, origin, "\r\n".join([*lines, ""]).encode())


def _encode(target: Target, request: UpstreamRequest) -> bytes:
    body = _dump(request.body)
    return b"%bx-governor-hops: %d\r\nContent-Length: %d\r\n\r\n%b" % (
        target.head,
        request.call.hops + 1,
        len(body),
        body,
    )


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # integers beyond 64 bits
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _content_type(connection: Connection) -> str:
    return connection.headers.get("content-type", "").partition(";")[0].strip().lower()


def _late(request: UpstreamRequest) -> UpstreamTimeout:
    return UpstreamTimeout(f"Deployment {request.deployment.name} did not answer in time.")

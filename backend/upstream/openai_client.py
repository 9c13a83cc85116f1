"""OpenAI-compatible servers (OpenAI, vLLM, TGI, Ollama, SGLang, …) over one pooled HTTP client; bytes pass through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict, istr
from yarl import URL

from backend.answer import unfold
from backend.call import Chunk
from backend.errors import (
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from backend.settings.knobs import Deployment
from backend.upstream.refusals import in_band_error, refusal
from backend.upstream.request import UpstreamRequest
from backend.upstream.sse import EventReader

_OPENAI_URL = "https://api.openai.com/v1"
_PATHS = {"chat.completions": "chat/completions", "completions": "completions", "embeddings": "embeddings"}
_KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection, so that no request meets a closed one."""
_MAX_ERROR_BYTES = 64 * 1024


class OpenAIClient:
    """One session per worker; no per-request state is kept, so no caller's credential can stick."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=30)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept"),
            read_bufsize=256 * 1024,
        )
        self._targets: dict[tuple[int, str], tuple[Deployment, URL, CIMultiDict[str]]] = {}
        """By identity of the frozen deployment, which the value keeps alive: hashing it would cost more."""

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._session.close()

    async def stream(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        """Send the request and yield the answer; raises ``UpstreamError`` subclasses only."""
        response = await self._post(request)
        try:
            if response.status != 200:
                raise await _refused(response, request)
            if request.call.stream and response.content_type != "application/json":
                chunks = _read_events(response, request)
            else:
                chunks = _read_whole(response, request)
            async for chunk in chunks:
                yield chunk
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _post(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        url, headers = self._target(request)
        settings = request.settings
        wait_s = settings.first_token_timeout_s if request.call.stream else request.deadline_s
        try:
            async with asyncio.timeout(min(wait_s, request.deadline_s)):
                return await self._session.post(
                    url,
                    data=_dump(request.body),
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
                )
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamUnreachable(f"Deployment {request.deployment.name} could not be reached in time.") from None
        except aiohttp.ClientConnectorError:
            raise UpstreamUnreachable(f"Deployment {request.deployment.name} could not be reached.") from None
        except TimeoutError:
            raise UpstreamTimeout(f"Deployment {request.deployment.name} did not answer in time.") from None
        except (aiohttp.ClientError, OSError):
            message = f"Deployment {request.deployment.name} closed the connection before it answered."
            raise UpstreamInterrupted(message) from None

    def _target(self, request: UpstreamRequest) -> tuple[URL, CIMultiDict[str]]:
        deployment, call = request.deployment, request.call
        known = self._targets.get((id(deployment), call.endpoint))
        if known is None:
            if len(self._targets) > 10_000:
                self._targets.clear()
            known = (deployment, *_build_target(deployment, call.endpoint))
            self._targets[id(deployment), call.endpoint] = known
        _, url, headers = known
        if call.hops:
            headers = headers.copy()
            headers["x-governor-hops"] = str(call.hops + 1)
        return url, headers


def _build_target(deployment: Deployment, endpoint: str) -> tuple[URL, CIMultiDict[str]]:
    url = URL(f"{deployment.base_url or _OPENAI_URL}/{_PATHS[endpoint]}")
    headers = CIMultiDict({istr("Content-Type"): "application/json", istr("Accept-Encoding"): "identity"})
    headers["Accept"] = "application/json, text/event-stream"
    headers["User-Agent"] = "governor"
    headers["x-governor-hops"] = "1"
    key = os.environ.get(deployment.api_key_env) if deployment.api_key_env else None
    if key:
        headers["Authorization"] = f"Bearer {key.strip()}"
    return url, headers


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # integers beyond 64 bits
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def _refused(response: aiohttp.ClientResponse, request: UpstreamRequest) -> UpstreamRefused:
    body = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(5):
            while len(body) < _MAX_ERROR_BYTES and (piece := await response.content.readany()):
                body += piece
    return refusal(request.deployment.name, response.status, response.headers, bytes(body))


async def _read_whole(response: aiohttp.ClientResponse, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
    name = request.deployment.name
    data = b"".join([piece async for piece in _pieces(response, request, request.deadline_s)])
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid(f"Deployment {name} answered with something that is not JSON.") from None
    _require_answer(event, request)
    if not request.call.stream:
        yield Chunk(data, event)
        return
    try:
        pieces = list(unfold(event, with_usage=True))  # the server did not stream although it was asked to
    except (TypeError, ValueError, AttributeError):
        raise UpstreamInvalid(f"Deployment {name} answered with something that cannot be streamed.") from None
    for piece in pieces:
        yield Chunk(orjson.dumps(piece), piece)


def _require_answer(event: Any, request: UpstreamRequest) -> None:
    if isinstance(event, dict) and event.get("error"):
        raise in_band_error(request.deployment.name, event["error"])
    field = "data" if request.call.endpoint == "embeddings" else "choices"
    if not isinstance(event, dict) or not isinstance(event.get(field), list) or not _is_sound(event):
        raise UpstreamInvalid(f"Deployment {request.deployment.name} answered without {field}.")


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


async def _read_events(response: aiohttp.ClientResponse, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
    name = request.deployment.name
    reader = EventReader(int(request.settings.max_answer_mb * 1e6))
    async for piece in _pieces(response, request, request.settings.idle_timeout_s):
        for data in _feed(reader, piece, name):
            if data == b"[DONE]":
                return
            chunk = _read_event(data, name)
            if chunk is not None:
                yield chunk
    if reader.rest.startswith(b"{"):
        with contextlib.suppress(UpstreamInvalid):
            _read_event(reader.rest, name)
    raise UpstreamInterrupted(f"The answer of deployment {name} ended before it was complete.")


def _feed(reader: EventReader, piece: bytes, name: str) -> list[bytes]:
    try:
        return list(reader.feed(piece))
    except ValueError:
        raise UpstreamInvalid(f"Deployment {name} sent an event that is too large.") from None


def _read_event(data: bytes, name: str) -> Chunk | None:
    try:
        event = orjson.loads(data)
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


async def _pieces(response: aiohttp.ClientResponse, request: UpstreamRequest, idle_s: float) -> AsyncIterator[bytes]:
    """Bytes as they arrive; bounded in size, in silence and in total time."""
    name, left = request.deployment.name, int(request.settings.max_answer_mb * 1e6)
    content, loop = response.content, asyncio.get_running_loop()
    ends_at = loop.time() + request.deadline_s
    try:
        while not content.at_eof():
            wait_s = min(idle_s, max(ends_at - loop.time(), 0.0))
            async with asyncio.timeout(wait_s):
                piece = await content.readany()
            left -= len(piece)
            if left < 0:
                raise UpstreamInvalid(f"The answer of deployment {name} is too large.")
            if piece:
                yield piece
    except TimeoutError:
        raise UpstreamTimeout(f"Deployment {name} fell silent.") from None
    except UpstreamError:
        raise
    except (aiohttp.ClientError, OSError):
        raise UpstreamInterrupted(f"The answer of deployment {name} ended before it was complete.") from None

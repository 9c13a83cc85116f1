"""OpenAI-compatible servers (OpenAI, vLLM, TGI, Ollama, SGLang, …) over one pooled HTTP client; bytes pass through."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict, istr
from yarl import URL

from backend.answer import Whole, unfold
from backend.call import Chunk, Chunks
from backend.deadlines import Deadlines
from backend.errors import UpstreamInterrupted, UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from backend.settings.knobs import Deployment
from backend.upstream.openai_answer import EventStream, read_refusal, read_whole
from backend.upstream.request import UpstreamRequest

_OPENAI_URL = "https://api.openai.com/v1"
_PATHS = {"chat.completions": "chat/completions", "completions": "completions", "embeddings": "embeddings"}
_KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection, so that no request meets a closed one."""


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
        self._deadlines = Deadlines()
        self._targets: dict[tuple[int, str], tuple[Deployment, URL, CIMultiDict[str]]] = {}
        """By identity of the frozen deployment, which the value keeps alive: hashing it would cost more."""

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._session.close()

    def stream(self, request: UpstreamRequest) -> Chunks:
        """Send the request; the answer's chunks raise ``UpstreamError`` subclasses only."""
        return self._stream(request) if request.call.stream else Whole(self._ask(request))

    async def _ask(self, request: UpstreamRequest) -> Chunk:
        try:
            with self._deadlines.within(request.deadline_s):
                response = await self._post(request)
                return await self._take_whole(response, request)
        except TimeoutError:
            raise _late(request) from None

    async def _stream(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        try:
            with self._deadlines.within(min(request.settings.first_token_timeout_s, request.deadline_s)):
                response = await self._post(request)
        except TimeoutError:
            raise _late(request) from None
        if response.status != 200 or response.content_type == "application/json":
            for chunk in await self._unfold(response, request):
                yield chunk
            return
        events = EventStream(response, request, self._deadlines)
        try:
            while (chunks := await events.read()) is not None:
                for chunk in chunks:
                    yield chunk
        finally:
            _let_go(response)

    async def _unfold(self, response: aiohttp.ClientResponse, request: UpstreamRequest) -> list[Chunk]:
        """The server did not stream although it was asked to."""
        try:
            with self._deadlines.within(request.deadline_s):
                whole = await self._take_whole(response, request)
        except TimeoutError:
            raise _late(request) from None
        try:
            return [Chunk(orjson.dumps(event), event) for event in unfold(whole.event, with_usage=True)]
        except (TypeError, ValueError, AttributeError):
            name = request.deployment.name
            raise UpstreamInvalid(f"Deployment {name} answered with something that cannot be streamed.") from None

    async def _take_whole(self, response: aiohttp.ClientResponse, request: UpstreamRequest) -> Chunk:
        try:
            if response.status != 200:
                raise await read_refusal(response, request)
            return await read_whole(response, request)
        finally:
            _let_go(response)

    async def _post(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        url, headers = self._target(request)
        name = request.deployment.name
        try:
            return await self._session.post(
                url,
                data=_dump(request.body),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=request.settings.connect_timeout_s),
            )
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamUnreachable(f"Deployment {name} could not be reached in time.") from None
        except aiohttp.ClientConnectorError:
            raise UpstreamUnreachable(f"Deployment {name} could not be reached.") from None
        except TimeoutError:
            raise _late(request) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamInterrupted(f"Deployment {name} closed the connection before it answered.") from None

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


def _late(request: UpstreamRequest) -> UpstreamTimeout:
    return UpstreamTimeout(f"Deployment {request.deployment.name} did not answer in time.")


def _let_go(response: aiohttp.ClientResponse) -> None:
    """A connection is used again only when its answer was read to the end."""
    response.release() if response.content.at_eof() else response.close()

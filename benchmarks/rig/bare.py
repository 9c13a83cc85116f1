"""The least that a Python gateway can be: raw ASGI, aiohttp, orjson and no feature at all.

Served by ``uvicorn benchmarks.rig.bare:passing`` (asks the upstreams named in BARE_UPSTREAM and BARE_STREAMING) and
``:remembering`` (answers from memory).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import orjson

from benchmarks.rig import wire

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_WHOLE, _STREAMING = os.environ["BARE_UPSTREAM"], os.environ["BARE_STREAMING"]
_session: list[aiohttp.ClientSession] = []
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream")]


async def passing(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Parse, ask the upstream, pass its bytes on."""
    if scope["type"] != "http":
        return
    document = orjson.loads(await _read(receive))
    content = orjson.dumps(document)
    headers = {"content-type": "application/json"}
    streams = document.get("stream")
    async with _find_session().post(_STREAMING if streams else _WHOLE, data=content, headers=headers) as response:
        if not streams:
            await _send_whole(send, await response.read())
            return
        await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
        async for piece in response.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def remembering(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Parse and answer from memory."""
    if scope["type"] != "http":
        return
    orjson.loads(await _read(receive))
    await _send_whole(send, wire.ANSWER)


def _find_session() -> aiohttp.ClientSession:
    if not _session:
        _session.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4000)))
    return _session[0]


async def _read(receive: Receive) -> bytes:
    content = b""
    while True:
        message = await receive()
        content += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return content


async def _send_whole(send: Send, content: bytes) -> None:
    headers = [*_JSON, (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})

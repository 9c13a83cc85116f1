"""The ASGI application: routes, bodies in, answers out, clients that hang up. The only file that speaks ASGI."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from backend.call import Arrival, Chunk, Endpoint, Entry
from backend.deadlines import Deadlines
from backend.errors import GatewayError, MethodNotAllowed
from backend.gateway.bodies import read_body
from backend.gateway.gateway import Gateway
from backend.gateway.pipeline import answer
from backend.gateway.reply import EVENTS, JSON, Headers, Send, decision_headers, send_error, send_whole
from backend.gateway.views import View, Views

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Scope = MutableMapping[str, Any]

log = logging.getLogger(__name__)

CALLS: dict[str, Endpoint] = {
    "/v1/chat/completions": "chat.completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/chat/completions": "chat.completions",
    "/completions": "completions",
    "/embeddings": "embeddings",
}
"""Every route that can cost money; each goes through the pipeline, so none can miss the ledger."""

_DONE = b"data: [DONE]\n\n"
_STALL_CHECK_S = 1.0


class Application:
    """The gateway on the wire."""

    def __init__(self, gateway: Gateway, views: Views) -> None:
        self._gateway = gateway
        self._views = views
        self._deadlines = Deadlines()
        self._sending: dict[asyncio.Task[Any], float] = {}
        """Tasks that wait for a client to read, and since when."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; raises nothing."""
        if scope["type"] != "http":
            return
        endpoint = CALLS.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST":
            await self._call(endpoint, scope, receive, send)
        elif endpoint is not None:
            await send_error(send, MethodNotAllowed("Use POST."), [(b"allow", b"POST")])
        else:
            await self._view(scope, receive, send)

    async def watch_stalls(self) -> None:
        """Cancel streams whose client reads nothing for longer than the knob; runs until cancelled."""
        while True:
            await asyncio.sleep(_STALL_CHECK_S)
            limit_s = self._gateway.settings.current.settings.gateway.write_stall_s
            oldest = time.perf_counter() - limit_s
            for task in [task for task, since in self._sending.items() if since < oldest]:
                task.cancel()

    async def _call(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        gateway, headers, departure = self._gateway, dict(scope["headers"]), scope["departure"]
        entry = gateway.open_entry(endpoint)
        main = _current_task()
        settings = gateway.settings.current.settings.gateway
        body, problem = await read_body(receive, headers, settings, self._deadlines)
        departure.act = lambda: gateway.leave(entry, main)
        chunks = answer(Arrival(endpoint, headers, body, problem), entry, gateway)
        try:
            await self._answer(entry, chunks, send)
        except asyncio.CancelledError:
            if not entry.client_left and main not in self._sending:
                raise
            main.uncancel()
        finally:
            departure.act = None
            self._sending.pop(main, None)
            gateway.open_calls -= 1

    async def _answer(self, entry: Entry, chunks: AsyncGenerator[Chunk], send: Send) -> None:
        async with aclosing(chunks):
            try:
                first = await anext(chunks)
                if entry.stream:
                    return await self._stream(entry, first, chunks, send)
                async for _ in chunks:
                    pass
                await self._gateway.ledger.durable()
            except GatewayError as error:
                if not entry.client_left:
                    await send_error(send, error, decision_headers(entry))
                return None
            except StopAsyncIteration:
                await send_error(send, GatewayError("The answer was empty."), decision_headers(entry))
                return None
        if not entry.client_left:
            await send_whole(send, 200, JSON + decision_headers(entry), first.data)
        return None

    async def _stream(self, entry: Entry, first: Chunk, chunks: AsyncGenerator[Chunk], send: Send) -> None:
        """The last event goes out only after the ledger has the whole call."""
        start = {"type": "http.response.start", "status": 200, "headers": EVENTS + decision_headers(entry)}
        await self._write(entry, send, start)
        ending = _DONE
        try:
            if first.shown:
                await self._write(entry, send, _event(first.data))
            async for chunk in chunks:
                if chunk.shown:
                    await self._write(entry, send, _event(chunk.data))
            await self._gateway.ledger.durable()
        except GatewayError as error:
            ending = b"data: " + error.body(entry.id) + b"\n\n"
        await self._write(entry, send, {"type": "http.response.body", "body": ending})

    async def _write(self, entry: Entry, send: Send, message: MutableMapping[str, Any]) -> None:
        if entry.client_left:
            return
        task = _current_task()
        since = self._sending[task] = time.perf_counter()
        await send(message)
        del self._sending[task]
        entry.client_s += time.perf_counter() - since

    async def _view(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            reply = await self._find_view(scope, headers, receive)
        except GatewayError as error:
            await send_error(send, error, [])
        except Exception as fault:
            log.exception("view failed: %s", type(fault).__name__)
            await send_error(send, GatewayError("An internal error occurred."), [])
        else:
            kind = [(b"content-type", reply.content_type.encode()), *JSON[1:]]
            if reply.parts is None:
                await send_whole(send, reply.status, kind, reply.body)
            else:
                await self._send_file(send, kind, reply.parts, reply.size)

    async def _find_view(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> View:
        method, path, body, problem = scope["method"], scope["path"], b"", None
        with self._views.admit(method, path, headers) as limits:
            if method in ("POST", "PUT", "PATCH"):
                body, problem = await read_body(receive, headers, limits, self._deadlines)
            if problem is not None:
                raise problem
            return await self._views.answer(method, path, headers, body, scope.get("query_string", b""))

    async def _send_file(self, send: Send, kind: Headers, parts: AsyncGenerator[bytes], size: int) -> None:
        """A file as it is read; one that breaks off is left without its end, so that the client sees it."""
        task, sent = _current_task(), 0
        headers = [*kind, (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async with aclosing(parts):
                async for part in parts:
                    self._sending[task] = time.perf_counter()
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    self._sending.pop(task, None)
                    sent += len(part)
            if sent == size:
                await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if task not in self._sending:
                raise
            task.uncancel()
        finally:
            self._sending.pop(task, None)


def _event(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True}


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not inside a task")
    return task

"""The upstream: one fixed completion, or a stream whose first event says when it was asked and when it answered.

Run as ``python -m benchmarks.rig.upstream PORT``. Where nginx is installed it gives the fixed completion instead.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from pathlib import Path

import orjson

from benchmarks.rig import wire

STAMP = re.compile(rb'"content":"t(\d+)-(\d+)t"')
"""Nanoseconds of the shared monotonic clock: request arrived, first event sent."""

_WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(wire.ANSWER) + wire.ANSWER
)
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_USAGE = {"prompt_tokens": 12, "completion_tokens": 50, "total_tokens": 62}
_NGINX = """
worker_processes 1; daemon off; error_log %(folder)s/nginx.log; pid %(folder)s/nginx.pid;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 64m;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  server { listen 127.0.0.1:%(port)d; location / { default_type application/json; return 200 '%(answer)s'; } }
}
"""


def nginx_command(folder: Path, port: int) -> list[str] | None:
    """The command that serves the fixed completion by nginx; None where it is not installed."""
    program = shutil.which("nginx")
    if program is None:
        return None
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX % {"folder": folder, "port": port, "answer": wire.ANSWER.decode()})
    return [program, "-e", str(folder / "nginx.log"), "-c", str(configuration)]


class Upstream(asyncio.Protocol):
    """One connection: a request in, an answer or a paced stream out."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._arrived_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._arrived_ns = time.perf_counter_ns()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            size = wire.body_length(self._buffer[: end + 2])
            if len(self._buffer) < end + 4 + size:
                return
            content, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._answer(content)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Stop writing."""
        self._transport = None

    def _answer(self, content: bytes) -> None:
        if b'"stream":true' not in content:
            self._write(_WHOLE)
            return
        wanted = orjson.loads(content)
        arrived_ns = self._arrived_ns
        first = _event({"role": "assistant", "content": f"t{arrived_ns}-{time.perf_counter_ns()}t"})
        self._write(_EVENTS + first)
        self._go_on(int(wanted["max_tokens"]) - 1, float(wanted["seed"]) / 1000.0)

    def _go_on(self, left: int, gap_s: float) -> None:
        if self._transport is None:
            return
        if left <= 0:
            self._write(_LAST)
            return
        asyncio.get_running_loop().call_later(gap_s, self._next, left, gap_s)

    def _next(self, left: int, gap_s: float) -> None:
        self._write(_PIECE)
        self._go_on(left - 1, gap_s)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(delta: dict[str, object], finish: str | None = None, usage: object = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": wire.MODEL,
        "choices": [] if usage else choices,
        "usage": usage,
    }
    return _chunk(b"data: " + orjson.dumps(document) + b"\n\n")


_PIECE = _event({"content": " token"})
_LAST = _event({}, "stop") + _event({}, usage=_USAGE) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, wire.HOST, port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms

        uvloop.run(serve(int(sys.argv[1])))
    except ImportError:
        asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()

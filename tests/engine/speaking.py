"""A server that streams completions and publishes metrics as vLLM does: so many tokens, each after a pause."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from backend.engine.health import Place
from tests.engine.metric_texts import vllm_text


class Speaking:
    """What it does and what it was asked; ``fails`` of every so many calls is refused, 0 none."""

    def __init__(self) -> None:
        self.place = Place("", "m")
        self.pause_s = 0.001
        self.fails_every = 0
        self.cuts = False
        self.bodies: list[dict[str, Any]] = []
        self.generated = 0
        self.lock = threading.Lock()

    def take(self, body: dict[str, Any]) -> int:
        """Which call this is."""
        with self.lock:
            self.bodies.append(body)
            self.generated += body["max_tokens"]
            return len(self.bodies)


class Http(ThreadingHTTPServer):
    """The server with what it is to do."""

    daemon_threads = True
    speaking: Speaking


class Answers(BaseHTTPRequestHandler):
    """Every request is a completion or a look at the metrics."""

    protocol_version = "HTTP/1.1"
    server: Http

    def do_GET(self) -> None:
        speaking = self.server.speaking
        prompts = sum(len(body["prompt"]) for body in speaking.bodies)
        self._whole(200, vllm_text(generated=speaking.generated, prompts=prompts).encode())

    def do_POST(self) -> None:
        speaking = self.server.speaking
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = speaking.take(body)
        if speaking.fails_every and number % speaking.fails_every == 0:
            self._whole(503, b'{"error": "overloaded"}')
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self._stream(body, speaking)

    def _stream(self, body: dict[str, Any], speaking: Speaking) -> None:
        for _ in range(body["max_tokens"]):
            time.sleep(speaking.pause_s)
            self._event({"choices": [{"text": "w"}]})
        if speaking.cuts:
            return
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # its caller may have been cancelled
            self.wfile.write(b"data: " + orjson.dumps(event) + b"\n\n")
            self.wfile.flush()

    def _whole(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def speaking() -> Iterator[Speaking]:
    """The server, on a port of its own."""
    with Http(("127.0.0.1", 0), Answers) as http:
        http.speaking = Speaking()
        http.speaking.place = Place(f"http://127.0.0.1:{http.server_port}/v1", "m")
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield http.speaking
        finally:
            http.shutdown()
            thread.join()

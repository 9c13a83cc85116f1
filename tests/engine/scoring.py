"""A server that says how likely it thinks a text, as vLLM does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import orjson

from backend.engine.health import Place

BEST = 5


class Http(ThreadingHTTPServer):
    """The server with what it thinks: every token as likely as one of so many."""

    faces: int
    best: int


class Scoring(BaseHTTPRequestHandler):
    """Thinks every token equally likely, and one of them the likeliest everywhere."""

    server: Http

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._say({"tokens": [ord(letter) for letter in body["prompt"]]})
            return
        choices = [
            {"index": number, "prompt_logprobs": [None, *map(self._position, row[1:])]}
            for number, row in enumerate(body["prompt"])
        ]
        self._say({"choices": choices[::-1]})

    def _position(self, token: int) -> dict[str, Any]:
        """As vLLM answers: the prompt's own token, and the likeliest where that is another."""
        best = self.server.best
        own = {str(token): {"logprob": -math.log(self.server.faces), "rank": 1 if token == best else 7}}
        return own if token == best else {**own, str(best): {"logprob": -0.1, "rank": 1}}

    def _say(self, document: dict[str, Any]) -> None:
        raw = orjson.dumps(document)
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def scoring(faces: int = 4, best: int = BEST) -> Iterator[Place]:
    """The server, on a port of its own."""
    with Http(("127.0.0.1", 0), Scoring) as http:
        http.faces, http.best = faces, best
        thread = Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Place(f"http://127.0.0.1:{http.server_port}/v1", "m")
        finally:
            http.shutdown()
            thread.join()

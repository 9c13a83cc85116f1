from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.engine.health import NoToken, Place, WedgeDetector, generate_token, made_progress
from backend.engine.reading import Reading

TOKEN = {"choices": [{"text": "a"}], "usage": {"completion_tokens": 1}}
asked: list[dict[str, Any]] = []


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Exchange(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as the library names it
            """Says nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers.get("Authorization")} | body)
            answer(self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def say(status: int, body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(exchange: BaseHTTPRequestHandler) -> None:
        exchange.send_response(status)
        exchange.send_header("Content-Length", str(len(body)))
        exchange.end_headers()
        exchange.wfile.write(body)

    return answer


def test_a_check_is_one_real_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "sk-1")
    with serving(say(200, json.dumps(TOKEN).encode())) as url:
        assert generate_token(Place(url, "small", "ENGINE_KEY"), 10) > 0
    said = asked.pop()
    assert (said["path"], said["model"], said["max_tokens"]) == ("/v1/completions", "small", 1)
    assert said["key"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (503, b"{}", "status 503"),
        (200, b"<html>", "no completion"),
        (200, b"[]", "no completion"),
        (200, b'{"usage": {"completion_tokens": 0}}', "without a token"),
        (200, b"x" * 2_000_000, "without end"),
    ],
)
def test_an_answer_without_a_token_is_no_health(status: int, body: bytes, message: str) -> None:
    with serving(say(status, body)) as url, pytest.raises(NoToken, match=message):
        generate_token(Place(url, "small"), 10)


def test_a_check_does_not_wait_beyond_its_deadline() -> None:
    released = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        released.wait(60)

    with serving(hang) as url:
        with pytest.raises(NoToken, match=r"no token within 0\.2 s"):
            generate_token(Place(url, "small"), 0.2)
        released.set()


def test_nobody_at_the_address_is_no_health() -> None:
    with serving(say(200, b"")) as url:
        pass
    with pytest.raises(NoToken, match="ConnectionRefused"):
        generate_token(Place(url, "small"), 5)


def reading(running: float, waiting: float, tokens: float) -> Reading:
    return Reading(at=1, gauges={"running": running, "waiting": waiting}, counters={"completion_tokens": tokens})


def test_calls_that_wait_while_nothing_runs_are_a_wedge() -> None:
    detector = WedgeDetector(wedge_s=30)
    moments = [(reading(0, 2, 5), 0.0), (reading(0, 2, 5), 10.0), (reading(0, 3, 5), 39.0), (reading(0, 3, 5), 40.0)]
    assert [detector.notice(*moment) for moment in moments] == [False, False, False, True]


@pytest.mark.parametrize(
    "between", [reading(1, 2, 5), reading(0, 0, 5), reading(0, 2, 6), None], ids=["runs", "idle", "token", "unread"]
)
def test_any_sign_of_life_begins_the_wait_anew(between: Reading | None) -> None:
    detector = WedgeDetector(wedge_s=30)
    stuck = reading(0, 2, 5)
    assert not detector.notice(stuck, 0)
    assert not detector.notice(stuck, 10)
    assert not detector.notice(between, 35)
    assert not detector.notice(stuck, 45)


def test_tokens_between_two_readings_are_progress() -> None:
    assert made_progress(reading(1, 0, 5), reading(1, 0, 6))
    assert not made_progress(reading(1, 0, 5), reading(1, 0, 5))
    assert not made_progress(None, reading(1, 0, 5))
    assert not made_progress(reading(1, 0, 5), None)

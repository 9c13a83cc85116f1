from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from pages.components.answer_view import cost_of
from pages.components.gateway_client import Answer, Question, ask, list_models, read_error, try_deployment

PIECES = ["A gov", "ernor", "."]
USAGE = {"prompt_tokens": 5, "completion_tokens": 3}


class FakeGateway(BaseHTTPRequestHandler):
    """Speaks as much of the gateway's wire as a customer needs."""

    asked: ClassVar[list[tuple[dict[str, str], dict[str, Any]]]] = []

    def do_GET(self) -> None:
        self.answer(200, json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
        if body["model"] == "refused":
            error = {"message": "No such model.", "type": "x", "param": None, "code": None}
            self.answer(404, json.dumps({"error": error}).encode())
        elif body.get("stream"):
            self.answer(200, b"".join(b"data: " + event + b"\n\n" for event in events(body["model"])))
        elif "input" in body:
            self.answer(200, json.dumps({"data": [{"embedding": [0.0] * 8}], "usage": USAGE}).encode())
        else:
            message = {"choices": [{"message": {"content": "".join(PIECES)}}], "usage": USAGE}
            self.answer(200, json.dumps(message).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-governor-call-id", "call-1")
        self.send_header("x-governor-cost-nusd", "27900")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


def events(model: str) -> Iterator[bytes]:
    for piece in PIECES:
        yield json.dumps({"choices": [{"delta": {"content": piece}}]}).encode()
    if model == "broken":
        yield json.dumps({"error": {"message": "The upstream broke off."}}).encode()
        return
    yield json.dumps({"choices": [], "usage": USAGE}).encode()
    yield b"[DONE]"


@pytest.fixture
def url() -> Iterator[str]:
    FakeGateway.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeGateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def finish(url: str, question: Question) -> Answer:
    """The answer when it is complete."""
    news = threading.Semaphore(0)
    answer = ask(url, question, threading.Event(), news.release)
    while not answer.done:
        assert news.acquire(timeout=20)
    return answer


def question(model: str = "a", **options: Any) -> Question:
    return Question(model, ({"role": "user", "content": "What is it?"},), "gov-key", **options)


def test_a_streamed_answer_is_put_together_with_its_figures(url: str) -> None:
    answer = finish(url, question(options={"temperature": 0.5}))
    assert (answer.text, answer.error, answer.call_id) == ("A governor.", None, "call-1")
    assert answer.usage == USAGE
    assert answer.ttft_ms is not None
    assert answer.total_ms is not None
    headers, body = FakeGateway.asked[0]
    assert headers["authorization"] == "Bearer gov-key"
    assert (body["stream"], body["stream_options"], body["temperature"]) == (True, {"include_usage": True}, 0.5)


def test_a_stream_that_breaks_off_keeps_what_came_and_says_why(url: str) -> None:
    answer = finish(url, question("broken"))
    assert (answer.text, answer.error) == ("A governor.", "The upstream broke off.")


def test_a_refusal_is_told_in_the_gateways_words(url: str) -> None:
    assert finish(url, question("refused")).error == "404: No such model."


def test_a_gateway_that_is_not_there_is_named(url: str) -> None:
    answer = finish("http://127.0.0.1:1", question())
    assert answer.error == "The gateway did not answer (ConnectError). Is it running at http://127.0.0.1:1?"


def test_a_deployment_is_tried_by_its_name(url: str) -> None:
    answer = try_deployment(url, question(deployment="second"), embeddings=False)
    assert (answer.text, cost_of(answer)) == ("A governor.", 27_900)
    headers, body = FakeGateway.asked[0]
    assert headers["x-governor-deployment"] == "second"
    assert (body["stream"], "stream_options" in body) == (False, False)


def test_a_deployment_of_embeddings_is_tried_with_a_text(url: str) -> None:
    answer = try_deployment(url, question(deployment="second"), embeddings=True)
    assert answer.text == "A vector of 8 numbers."
    assert FakeGateway.asked[0][1] == {"model": "a", "input": "What is it?"}


def test_the_models_of_a_key_are_listed_and_none_where_nobody_answers(url: str) -> None:
    assert list_models(url, "gov-key") == ["a", "b"]
    assert list_models("http://127.0.0.1:1", "") == []


def test_what_the_ledger_billed_wins_over_the_header_and_unknown_stays_unknown() -> None:
    assert cost_of(Answer("a", headers={"x-governor-cost-nusd": "7"}, cost_nusd=9)) == 9
    assert cost_of(Answer("a", headers={"x-governor-cost-nusd": "7"})) == 7
    assert cost_of(Answer("a", headers={"x-governor-cost-nusd": "unknown"})) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": "x"}'])
def test_an_error_that_is_none_of_ours_is_still_one(body: bytes) -> None:
    assert read_error(502, body) == "502: the gateway refused the call."


def test_a_key_is_never_written_out() -> None:
    assert "gov-key" not in repr(question())

"""The console as a customer of the gateway: one question, streamed, over plain HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

TIMEOUT = httpx2.Timeout(10.0, read=120.0)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of whom; ``key`` may be empty where the gateway needs none."""

    model: str
    messages: tuple[Mapping[str, str], ...]
    key: str = field(default="", repr=False)
    deployment: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """The request's headers."""
        found = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {**found, "x-governor-deployment": self.deployment} if self.deployment else found

    def body(self) -> dict[str, Any]:
        """The request's body."""
        usage = {"include_usage": True}
        return {
            "model": self.model,
            "messages": list(self.messages),
            "stream": True,
            "stream_options": usage,
            **self.options,
        }


@dataclass(slots=True)
class Answer:
    """What has come so far; one thread writes it, the page reads it."""

    model: str
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Mapping[str, Any] = field(default_factory=dict)
    ttft_ms: float | None = None
    total_ms: float | None = None
    error: str | None = None
    done: bool = False
    cost_nusd: int | None = None

    @property
    def call_id(self) -> str | None:
        """The call's id in the ledger."""
        return self.headers.get("x-governor-call-id")


def ask(url: str, question: Question, stop: threading.Event, tell: Callable[[], None]) -> Answer:
    """Begin to ask in a thread of its own; the answer fills up, ``tell`` is called at every change."""
    answer = Answer(question.model)

    def run() -> None:
        started = time.perf_counter()
        try:
            _stream(url, question, answer, (stop, tell, started))
        except httpx2.HTTPError as error:
            answer.error = f"The gateway did not answer ({type(error).__name__}). Is it running at {url}?"
        finally:
            answer.total_ms = (time.perf_counter() - started) * 1000
            answer.done = True
            tell()

    threading.Thread(target=run, name=f"ask {question.model}", daemon=True).start()
    return answer


def _stream(
    url: str, question: Question, answer: Answer, run: tuple[threading.Event, Callable[[], None], float]
) -> None:
    stop, tell, started = run
    with (
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as client,
        client.stream(
            "POST", f"{url}/v1/chat/completions", headers=question.headers(), json=question.body()
        ) as response,
    ):
        answer.headers = dict(response.headers)
        if response.status_code >= 400:
            answer.error = read_error(response.status_code, response.read())
            return
        for line in response.iter_lines():
            if stop.is_set():
                return
            if line.startswith("data:") and line[5:].strip() != "[DONE]":
                _take(json.loads(line[5:]), answer, started)
                tell()


def _take(event: Mapping[str, Any], answer: Answer, started: float) -> None:
    if "error" in event:
        answer.error = str(event["error"].get("message", "The stream broke off."))
    if event.get("usage"):
        answer.usage = event["usage"]
    for choice in event.get("choices") or ():
        text = (choice.get("delta") or {}).get("content")
        if text:
            if answer.ttft_ms is None:
                answer.ttft_ms = (time.perf_counter() - started) * 1000
            answer.text += text


def read_error(status: int, body: bytes) -> str:
    """The gateway's own words about a refusal."""
    try:
        return f"{status}: {json.loads(body)['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{status}: the gateway refused the call."


def try_deployment(url: str, question: Question, *, embeddings: bool) -> Answer:
    """One short call through a named deployment, answered as a whole."""
    path = "embeddings" if embeddings else "chat/completions"
    text = question.messages[-1]["content"]
    body = {"model": question.model, "input": text} if embeddings else {**question.body(), "stream": False}
    body.pop("stream_options", None)
    answer, started = Answer(question.model), time.perf_counter()
    try:
        with httpx2.Client(timeout=TIMEOUT, trust_env=False) as client:
            response = client.post(f"{url}/v1/{path}", headers=question.headers(), json=body)
    except httpx2.HTTPError as error:
        answer.error = f"The gateway did not answer ({type(error).__name__}). Is it running at {url}?"
        return answer
    answer.total_ms, answer.headers = (time.perf_counter() - started) * 1000, dict(response.headers)
    if response.status_code >= 400:
        answer.error = read_error(response.status_code, response.content)
        return answer
    found = response.json()
    answer.usage = found.get("usage") or {}
    answer.text = _shown(found, embeddings=embeddings)
    return answer


def _shown(found: Mapping[str, Any], *, embeddings: bool) -> str:
    if embeddings:
        return f"A vector of {len(found['data'][0]['embedding']):,} numbers."
    return str(found["choices"][0]["message"].get("content") or "")


def list_models(url: str, key: str) -> list[str]:
    """The models that this key may call; empty when the gateway does not say."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(timeout=3.0, trust_env=False) as client:
            response = client.get(f"{url}/v1/models", headers=headers)
        return [str(model["id"]) for model in response.json()["data"]] if response.status_code == 200 else []
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return []

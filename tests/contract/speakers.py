"""Clients of the contract: each speaks for a program a user has, and all answer in one form."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import pytest

from tests.faults.processes import REPOSITORY

PATHS = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}
ERRORS = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError"}
ERRORS |= {409: "ConflictError", 422: "UnprocessableEntityError", 429: "RateLimitError"}
METHODS = {"create": "POST", "cancel": "POST", "delete": "DELETE"}
NAMES = ("openai-2", "openai-3", "node", "curl")


@dataclass
class Outcome:
    """What a client made of one request; `error` has class, status, message, type, param, code, body, headers."""

    value: Any = None
    chunks: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The words of a chat answer, streamed or whole."""
        if self.value is not None:
            return str(self.value["choices"][0]["message"]["content"])
        return "".join(choice["delta"].get("content") or "" for chunk in self.chunks for choice in chunk["choices"])

    @property
    def failure(self) -> dict[str, Any]:
        """The error; fails where there is none."""
        assert self.error is not None, self
        return self.error

    @property
    def call_id(self) -> str:
        """The id of the ledger's row."""
        return (self.headers or self.failure["headers"])["x-governor-call-id"]


class Speaker(Protocol):
    """A client of the gateway."""

    def ask(self, op: str, path: str = "chat", **asked: Any) -> Outcome:
        """Place a request; see ``speaker.py`` for what may be asked."""
        ...


class Program:
    """A client that runs as a program of its own and is spoken to line by line."""

    def __init__(self, command: list[str], url: str) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._child: subprocess.Popen[str] = subprocess.Popen([*command, url], text=True, cwd=REPOSITORY, **pipes)
        self.version: str = json.loads(self._read())["version"]

    def ask(self, op: str, path: str = "chat", **asked: Any) -> Outcome:
        """Place a request."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"op": op, "path": path} | asked) + "\n")
        self._child.stdin.flush()
        return Outcome(**json.loads(self._read()))

    def close(self) -> None:
        """End the program by closing its input."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(timeout=10)
        self._child.stdout.close()

    def _read(self) -> str:
        assert self._child.stdout is not None
        line: str = self._child.stdout.readline()
        assert line, f"{self._child.args!r} ended with {self._child.wait(timeout=10)}"
        return line


class Curl:
    """``curl``: what it prints is read as the standards say, and nothing is forgiven."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.version = subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout.decode().split()[1]

    def ask(self, op: str, path: str = "chat", **asked: Any) -> Outcome:
        """Place a request; one that the caller would rather leave is ended with its connection."""
        if op == "accumulate":
            return Outcome()  # it has no accumulator of its own
        if op == "do":
            return self._do(asked)
        if op in ("models", "model"):
            return self._list(asked.get("model"), asked.get("key", "none"))
        body = {**asked["params"], **asked.get("extra", {})} | ({"stream": True} if op in ("stream", "naive") else {})
        headers = {"content-type": "application/json"} | asked.get("headers", {})
        with self._run(PATHS[path], headers, asked.get("key", "none"), json.dumps(body)) as output:
            outcome, status = _read_head(output)
            if status >= 400 or op == "create":
                return _judge(outcome, status, json.loads(b"".join(output)))
            _read_events(outcome, output, asked.get("take"))
        if op == "naive" and outcome.error is None:
            outcome.value = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in outcome.chunks)
        return outcome

    def close(self) -> None:
        """Nothing is held open."""

    def _list(self, model: str | None, key: str) -> Outcome:
        with self._run(f"/models/{model}" if model else "/models", {}, key) as output:
            outcome, status = _read_head(output)
            _judge(outcome, status, json.loads(b"".join(output)))
        if model is None and outcome.error is None:
            outcome.value = outcome.value["data"]
        return outcome

    def _do(self, asked: dict[str, Any]) -> Outcome:
        noun, _, verb = asked["verb"].partition(".")
        params, path = dict(asked.get("params") or {}), f"/{noun}" + (f"/{asked['id']}" if "id" in asked else "")
        options, sent = ["-X", METHODS.get(verb, "GET")], b""
        if "file" in params:
            name, text = params.pop("file")
            fields = [part for each in params.items() for part in ("-F", "=".join(each))]
            options, sent = [*options, *fields, "-F", f"file=@-;filename={name}"], text.encode()
        elif verb == "create":
            options = [*options, "-H", "content-type: application/json", "--data-binary", "@-"]
            sent = json.dumps(params).encode()
        elif params:
            path += f"?{urlencode(params)}"
        path += f"/{verb}" if verb in ("content", "cancel") else ""
        key = f"Authorization: Bearer {asked.get('key', 'none')}"
        command = ["curl", "-sS", "-i", "-H", "expect:", "-H", key, *options, self._url + path]
        ran = subprocess.run(command, input=sent, capture_output=True, check=True, timeout=60)
        output = iter(ran.stdout.splitlines(keepends=True))
        outcome, status = _read_head(output)
        body = b"".join(output)
        if verb == "content" and status == 200:
            outcome.value = body.decode()
            return outcome
        judged = _judge(outcome, status, json.loads(body))
        return self._turn(judged, asked) if verb == "list" else judged

    def _turn(self, outcome: Outcome, asked: dict[str, Any]) -> Outcome:
        """The items of this page and of those that follow."""
        if outcome.error is not None:
            return outcome
        page, outcome.value = outcome.value, outcome.value["data"]
        if page["has_more"]:
            params = (asked.get("params") or {}) | {"after": page["last_id"]}
            outcome.value += self._do(asked | {"params": params}).value
        return outcome

    @contextmanager
    def _run(self, path: str, headers: dict[str, str], key: str, body: str | None = None) -> Iterator[Iterator[bytes]]:
        fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        data = ["--data-binary", "@-"] if body is not None else []
        command = ["curl", "-sS", "-N", "-i", "--max-time", "60", "-H", f"Authorization: Bearer {key}", *fields, *data]
        with subprocess.Popen([*command, self._url + path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write((body or "").encode())
            child.stdin.close()
            yield iter(child.stdout.readline, b"")
            child.kill()


def _read_head(output: Iterator[bytes]) -> tuple[Outcome, int]:
    status = int(next(output).split()[1])
    headers: dict[str, str] = {}
    for line in output:
        name, _, value = line.decode().strip().partition(": ")
        if not name:
            break
        headers[name.lower()] = value
    return Outcome(headers=headers), status


def _judge(outcome: Outcome, status: int, body: Any) -> Outcome:
    if status < 400:
        outcome.value = body
        return outcome
    kind = ERRORS.get(status, "InternalServerError" if status >= 500 else "APIStatusError")
    outcome.error = {"class": kind, "status": status, "headers": outcome.headers, "body": body["error"]} | body["error"]
    return outcome


def _read_events(outcome: Outcome, output: Iterator[bytes], take: int | None) -> None:
    """Events by the letter: fields and blank lines; a stream that ends without [DONE] or an error broke."""
    for line in output:
        if line in (b"\n", b"\r\n") or line.startswith(b":"):
            continue
        name, _, payload = line.partition(b": ")
        assert name == b"data", line
        if payload.strip() == b"[DONE]":
            assert next(output) == b"\n"
            assert next(output, None) is None, "something came after [DONE]"
            return
        event = json.loads(payload)
        if event.get("error"):
            outcome.error = {"class": "APIError", "status": None, "headers": {}, "body": event["error"]}
            outcome.error |= event["error"]
            return
        outcome.chunks.append(event)
        if len(outcome.chunks) == take:
            return
    outcome.error = {"class": "APIConnectionError", "status": None, "headers": {}, "message": "no [DONE]"}


def start_speaker(name: str, url: str) -> Program | Curl:
    """The client of that name; skips with the reason where it is not installed."""
    if name == "curl":
        if shutil.which("curl") is None:
            pytest.skip("no curl on PATH")
        return Curl(url)
    here = Path(__file__).parent
    if name == "node":
        if shutil.which("node") is None:
            pytest.skip("no node on PATH")
        if not (here / "node" / "node_modules" / "openai").exists():
            pytest.skip("the openai Node client is not installed: make setup-contract")
        return Program(["node", str(here / "node" / "speaker.mjs")], url)
    python = sys.executable if name == "openai-2" else str(REPOSITORY / ".venv-openai3" / "bin" / "python")
    if not Path(python).exists():
        pytest.skip("the current openai client is not installed: make setup-contract")
    return Program([python, str(here / "speaker.py")], url)

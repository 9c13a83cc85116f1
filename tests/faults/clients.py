"""load clients and the client journal: what each caller asked, what it got and how it ended."""

import asyncio
import hashlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import httptools

from tests.faults.wire import Received, Wire

Phase = Literal["before_headers", "before_first_token", "mid", "after_last", "never_read"]
UNMARKED = "x" * 36  # as long as a marker, but none: the books then ignore the call
PATHS = {"chat": "/v1/chat/completions", "text": "/v1/completions", "embeddings": "/v1/embeddings"}


@dataclass(frozen=True)
class Cut:
    """When a client hangs up: in a phase, after so many shown words or body bytes, or after so many seconds."""

    phase: Phase | None = None
    words: int | None = None
    bytes: int | None = None
    after_s: float | None = None
    reset: bool = False


@dataclass(frozen=True)
class Ask:
    """One call to place. The marker travels in the prompt and as session id, so the other two books can name it."""

    model: str = "fake/ok"
    stream: bool = False
    include_usage: bool = False
    endpoint: str = "chat"
    cut: Cut | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    marker: str = field(default_factory=lambda: str(uuid.uuid4()))

    def body(self) -> bytes:
        """The request body."""
        prompt = f"say something call-marker:{self.marker}"
        ask: dict[str, Any] = {"model": self.model, "user": "load"}
        if self.endpoint == "chat":
            ask["messages"] = [{"role": "user", "content": prompt}]
        else:
            ask["prompt" if self.endpoint == "text" else "input"] = prompt
        if self.stream:
            ask["stream"] = True
        if self.include_usage:
            ask["stream_options"] = {"include_usage": True}
        return json.dumps(ask | self.extra).replace("Infinity", "1e999").encode()


@dataclass
class Outcome:
    """A line of the client journal.

    `end` is what a naive client would believe: ok (a proper end and no error seen), error (an error status or an
    error in the stream), cut (the connection broke), left (we hung up), no_answer (no status ever), timeout.
    """

    marker: str
    model: str
    stream: bool
    end: str = "no_answer"
    call_id: str | None = None
    http_status: int | None = None
    error_code: str | None = None
    usage: dict[str, Any] | None = None
    content_sha: str | None = None
    words: int = 0
    bytes: int = 0
    done: bool = False
    finish_reason: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    sent_at: float = 0.0
    took_s: float = 0.0


async def place_call(port: int, ask: Ask) -> Outcome:
    """Place one call on a connection of its own; never raises for what the other side does."""
    outcome = Outcome(ask.marker, ask.model, ask.stream, sent_at=time.time())
    received = Received()
    try:
        async with asyncio.timeout(ask.timeout_s), Wire(port) as wire:
            received = wire.received
            await wire.post(PATHS[ask.endpoint], ask.body(), {"x-session-id": ask.marker} | ask.headers)
            left = await _read_until_cut(wire, ask.cut)
        outcome.end = "left" if left else _natural_end(received)
    except TimeoutError:
        outcome.end = "timeout"
    except (OSError, httptools.HttpParserError):
        outcome.end = "cut" if received.status is not None else "no_answer"
    _fill(outcome, received)
    outcome.took_s = time.time() - outcome.sent_at
    return outcome


async def _read_until_cut(wire: Wire, cut: Cut | None) -> bool:
    if cut is None:
        while await wire.read_some():
            pass
        return False
    try:
        async with asyncio.timeout(cut.after_s):
            left = await _hang_up_at(wire, cut)
    except TimeoutError:
        left = True
    if left:
        await wire.leave(reset=cut.reset)
    return left


async def _hang_up_at(wire: Wire, cut: Cut) -> bool:
    if cut.phase == "never_read":
        await asyncio.Event().wait()
    if cut.phase == "before_headers":
        return True
    more = True
    while more:
        more = await wire.read_some()
        if _is_due(wire.received, cut):
            return True
    return False


def _is_due(received: Received, cut: Cut) -> bool:
    if cut.bytes is not None:
        return len(received.body) >= cut.bytes
    if cut.words is not None:
        return _shown_words(received) >= cut.words
    return {
        "before_first_token": received.status is not None,
        "mid": _shown_words(received) >= 3,
        "after_last": b"data: [DONE]" in received.body or (received.complete and not received.streamed),
    }.get(cut.phase or "", False)


def _shown_words(received: Received) -> int:
    return sum(1 for event in received.events if text_of(event))


def text_of(event: bytes) -> str:
    """The text that one event or whole body shows; tool arguments count as text."""
    shown = ""
    for choice in _parse(event).get("choices") or []:
        message = choice.get("delta") or choice.get("message") or {}
        shown += message.get("content") or choice.get("text") or ""
        calls = message.get("tool_calls") or []
        shown += "".join((call.get("function") or {}).get("arguments") or "" for call in calls)
    return shown


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(payload)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _natural_end(received: Received) -> str:
    if received.status is None:
        return "no_answer"
    if received.status >= 400:
        return "error"
    payloads = received.events if received.streamed else [bytes(received.body)]
    if any("error" in _parse(payload) for payload in payloads):
        return "error"
    return "ok" if received.complete else "cut"


def _fill(outcome: Outcome, received: Received) -> None:
    outcome.http_status = received.status
    outcome.headers = received.headers
    outcome.call_id = received.headers.get("x-governor-call-id")
    outcome.bytes = len(received.body)
    payloads = received.events if received.streamed else [bytes(received.body)]
    shown = hashlib.sha256()
    for payload in payloads:
        text = text_of(payload)
        outcome.words += bool(text)
        shown.update(text.encode("utf-8", "surrogatepass"))
        _read_frame(outcome, _parse(payload))
        outcome.done = outcome.done or payload == b"[DONE]"
    outcome.content_sha = shown.hexdigest()


def _read_frame(outcome: Outcome, frame: dict[str, Any]) -> None:
    outcome.usage = frame.get("usage") or outcome.usage
    if isinstance(frame.get("error"), dict):
        outcome.error_code = frame["error"].get("code")
    for choice in frame.get("choices") or []:
        outcome.finish_reason = choice.get("finish_reason") or outcome.finish_reason


class ClientJournal:
    """Append-only JSON lines of outcomes; also keeps them in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: list[Outcome] = []
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, outcome: Outcome) -> Outcome:
        """Note an outcome durably."""
        os.write(self._file, json.dumps(asdict(outcome), separators=(",", ":")).encode() + b"\n")
        self.outcomes.append(outcome)
        return outcome

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_client_journal(path: Path) -> list[dict[str, Any]]:
    """Read a client journal."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def run_load(port: int, asks: Iterable[Ask], per_second: float, journal: ClientJournal) -> list[Outcome]:
    """Open-loop load: calls start on the clock whether earlier ones have ended or not; returns when all have."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_journalled(port, ask, journal)) async for ask in _paced(asks, per_second)]
    return [task.result() for task in tasks]


async def place_all(port: int, asks: Iterable[Ask], journal: ClientJournal, at_once: int = 50) -> list[Outcome]:
    """Closed-loop load: at most `at_once` calls in flight."""
    turn = asyncio.Semaphore(at_once)

    async def take_turn(ask: Ask) -> Outcome:
        async with turn:
            return await _journalled(port, ask, journal)

    return await asyncio.gather(*(take_turn(ask) for ask in asks))


async def _journalled(port: int, ask: Ask, journal: ClientJournal) -> Outcome:
    return journal.write(await place_call(port, ask))


async def _paced(asks: Iterable[Ask], per_second: float) -> AsyncIterator[Ask]:
    start = time.monotonic()
    for position, ask in enumerate(asks):
        await asyncio.sleep(max(0.0, start + position / per_second - time.monotonic()))
        yield ask

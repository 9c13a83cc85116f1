"""Whole answers and streams of one: folded together, unfolded again, field for field."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from backend.call import Chunk

_JOINED = ("content", "refusal", "reasoning_content", "reasoning")
"""Delta fields whose pieces are concatenated."""


class Whole:
    """A stream of the one chunk that a coroutine returns, or of none; cheaper than a generator in every layer."""

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, Chunk | None]) -> None:
        self._work: Coroutine[Any, Any, Chunk | None] | None = work

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        work, self._work = self._work, None
        chunk = None if work is None else await work
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the answer up if nobody has asked for it yet."""
        work, self._work = self._work, None
        if work is not None:
            work.close()


class Fold:
    """Gathers a stream's events into the whole answer; gives up beyond ``limit`` bytes."""

    __slots__ = ("_choices", "_envelope", "_limit", "_size", "_usage")

    def __init__(self, limit: int) -> None:
        self._envelope: dict[str, Any] | None = None
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] | None = None
        self._size = 0
        self._limit = limit

    def add(self, event: dict[str, Any], size: int) -> None:
        """Take in one event of ``size`` bytes."""
        self._size += size
        if self._size > self._limit:
            self._choices.clear()
            return
        if self._envelope is None:
            self._envelope = {k: v for k, v in event.items() if k not in ("choices", "usage")}
        for choice in event.get("choices") or ():
            self._add_choice(choice)
        if event.get("usage"):
            self._usage = event["usage"]

    def answer(self) -> dict[str, Any] | None:
        """The whole answer, or None when there was none or it was too large."""
        if self._envelope is None or not self._choices or self._size > self._limit:
            return None
        kind = str(self._envelope.get("object", "chat.completion.chunk"))
        whole = {**self._envelope, "object": kind.removesuffix(".chunk")}
        whole["choices"] = [_whole_choice(self._choices[index]) for index in sorted(self._choices)]
        if self._usage is not None:
            whole["usage"] = self._usage
        return whole

    def _add_choice(self, choice: dict[str, Any]) -> None:
        known = self._choices.setdefault(choice.get("index", 0), {"index": choice.get("index", 0)})
        for name, value in choice.items():
            if name == "delta" and isinstance(value, dict):
                _add_delta(known.setdefault("delta", {}), value)
            elif name == "text":
                known.setdefault("text", []).append(value or "")
            elif name == "logprobs":
                known["logprobs"] = _joined_logprobs(known.get("logprobs"), value)
            elif name != "index" and (value is not None or name not in known):
                known[name] = value


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name in _JOINED and isinstance(value, str):
            pieces = message.get(name)
            if isinstance(pieces, list):
                pieces.append(value)
            else:
                message[name] = [value]
        elif name == "tool_calls" and isinstance(value, list):
            _add_tool_calls(message.setdefault("tool_calls", {}), value)
        elif value is not None or name not in message:
            message.setdefault(name, value)


def _add_tool_calls(calls: dict[int, dict[str, Any]], pieces: list[dict[str, Any]]) -> None:
    for piece in pieces:
        call = calls.setdefault(piece.get("index", len(calls)), {})
        for name, value in piece.items():
            if name == "function" and isinstance(value, dict):
                function = call.setdefault("function", {"name": "", "arguments": ""})
                function["name"] = function["name"] or value.get("name") or ""
                function["arguments"] += value.get("arguments") or ""
            elif name != "index" and value is not None:
                call[name] = value


def _joined_logprobs(known: Any, piece: Any) -> Any:
    if not isinstance(known, dict) or not isinstance(piece, dict):
        return piece if known is None else known
    joined = dict(known)
    for name, value in piece.items():
        if isinstance(value, list) and isinstance(joined.get(name), list):
            joined[name] = joined[name] + value
        elif joined.get(name) is None:
            joined[name] = value
    return joined


def _whole_choice(choice: dict[str, Any]) -> dict[str, Any]:
    whole = {name: value for name, value in choice.items() if name not in ("delta", "text")}
    if "text" in choice:
        whole["text"] = "".join(choice["text"])
    if "delta" in choice:
        message = dict(choice["delta"])
        message |= {name: "".join(message[name]) for name in _JOINED if isinstance(message.get(name), list)}
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        if isinstance(message.get("tool_calls"), dict):
            message["tool_calls"] = [message["tool_calls"][index] for index in sorted(message["tool_calls"])]
        whole["message"] = message
    whole.setdefault("finish_reason", None)
    whole.setdefault("logprobs", None)
    return whole


def unfold(answer: dict[str, Any], *, with_usage: bool, piece: int = 24) -> Iterator[dict[str, Any]]:
    """The answer as stream events: role, pieces of ``piece`` characters, finish, and usage when it was asked for."""
    chat = answer.get("object") != "text_completion"
    envelope = {k: v for k, v in answer.items() if k not in ("choices", "usage", "object")}
    envelope["object"] = "chat.completion.chunk" if chat else "text_completion"
    envelope["created"] = int(time.time())
    extra = {"usage": None} if with_usage else {}
    for choice in answer.get("choices", ()):
        for delta in _deltas(choice, piece) if chat else _texts(choice, piece):
            yield {**envelope, "choices": [delta], **extra}
    if with_usage and answer.get("usage") is not None:
        yield {**envelope, "choices": [], "usage": answer["usage"]}


def _deltas(choice: dict[str, Any], piece: int) -> Iterator[dict[str, Any]]:
    index, message = choice.get("index", 0), dict(choice.get("message") or {})
    joined = {name: message.pop(name) for name in _JOINED if isinstance(message.get(name), str)}
    calls = message.pop("tool_calls", None) or []
    opening = {"role": "assistant", **message, **({"content": ""} if "content" in joined else {})}
    logprobs = choice.get("logprobs")
    yield _event(index, opening, logprobs=logprobs)
    for name, text in joined.items():
        for start in range(0, len(text), piece):
            yield _event(index, {name: text[start : start + piece]})
    for number, call in enumerate(calls):
        yield _event(index, {"tool_calls": [{"index": number, **call}]})
    rest = {k: v for k, v in choice.items() if k not in ("index", "message", "logprobs", "finish_reason")}
    yield {**_event(index, {}), **rest, "finish_reason": choice.get("finish_reason")}


def _event(index: int, delta: dict[str, Any], logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _texts(choice: dict[str, Any], piece: int) -> Iterator[dict[str, Any]]:
    text, index = choice.get("text") or "", choice.get("index", 0)
    for start in range(0, len(text), piece):
        logprobs = choice.get("logprobs") if start == 0 else None
        yield {"index": index, "text": text[start : start + piece], "logprobs": logprobs, "finish_reason": None}
    yield {"index": index, "text": "", "logprobs": None, "finish_reason": choice.get("finish_reason")}


@dataclass(slots=True, frozen=True)
class Recipe:
    """What it takes to ask again for a stored answer, and how long a caller waits for it."""

    endpoint: str
    namespace: str
    latency_ms: float
    request: bytes
    """The body, without what changes no answer, as JSON."""

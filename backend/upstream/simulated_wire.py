"""OpenAI's wire as the simulated provider speaks it: whole bodies, stream events, embeddings."""

from __future__ import annotations

import base64
import math
import re
import sys
import time
from array import array
from collections.abc import Iterator
from hashlib import shake_128
from itertools import chain, zip_longest
from typing import Any

from backend.call import Endpoint, new_id
from backend.upstream.simulated_answer import Answer

FINGERPRINT = "simulated"
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
MOST_NUMBERS = 2_000_000
"""Of all vectors of one answer."""
DEFAULT_DIMENSIONS = 768

Step = tuple[int, dict[str, Any]]
"""How many tokens are out before an event, and the event."""

_WORD = re.compile(r"\w+")
_PLACES_PER_FEATURE = 8


def build_usage(prompt_tokens: int, cached_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """The usage object of a chat or a completion."""
    completion_tokens = sum(len(answer.pieces) for answer in answers)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def build_body(endpoint: Endpoint, model: str, answers: list[Answer], usage: dict[str, Any]) -> dict[str, Any]:
    """A whole chat or completion body."""
    build = _build_message if endpoint == "chat.completions" else _build_text
    kind = "chat.completion" if endpoint == "chat.completions" else "text_completion"
    choices = [{"index": i, **build(answer), "logprobs": None} for i, answer in enumerate(answers)]
    for choice, answer in zip(choices, answers, strict=True):
        choice["finish_reason"] = answer.finish_reason
    return {**_frame(endpoint, kind, model), "choices": choices, "usage": usage}


def _build_message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    if answer.tool is not None:
        function = {"name": answer.tool, "arguments": answer.text}
        message |= {"content": None, "tool_calls": [{"id": _tool_call_id(), "type": "function", "function": function}]}
    return {"message": message}


def _build_text(answer: Answer) -> dict[str, Any]:
    return {"text": answer.text}


def build_events(
    endpoint: Endpoint, model: str, answers: list[Answer], usage: dict[str, Any], *, shows_usage: bool
) -> Iterator[Step]:
    """A stream's events in order: roles, tokens, ends, then usage with no choices."""
    kind = "chat.completion.chunk" if endpoint == "chat.completions" else "text_completion"
    frame = _frame(endpoint, kind, model)
    usage_shown = {"usage": None} if shows_usage else {}
    per_choice = _speak_chat if endpoint == "chat.completions" else _speak_text
    told = [per_choice(index, answer) for index, answer in enumerate(answers)]
    tokens_out = 0
    for spoken in filter(None, chain.from_iterable(zip_longest(*told))):
        tokens, choice = spoken
        tokens_out += tokens
        yield tokens_out, {**frame, "choices": [choice], **usage_shown}
    yield tokens_out, {**frame, "choices": [], "usage": usage}


def _speak_chat(index: int, answer: Answer) -> Iterator[Step]:
    opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    if answer.tool is not None:
        function = {"name": answer.tool, "arguments": ""}
        call = {"index": 0, "id": _tool_call_id(), "type": "function", "function": function}
        opening |= {"content": None, "tool_calls": [call]}
    yield 0, _choice(index, {"delta": opening})
    for piece in answer.pieces:
        if answer.tool is None:
            yield 1, _choice(index, {"delta": {"content": piece}})
        else:
            yield 1, _choice(index, {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}})
    yield 0, _choice(index, {"delta": {}}, answer.finish_reason)


def _speak_text(index: int, answer: Answer) -> Iterator[Step]:
    for piece in answer.pieces:
        yield 1, _choice(index, {"text": piece})
    yield 0, _choice(index, {"text": ""}, answer.finish_reason)


def _choice(index: int, content: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}


def _frame(endpoint: Endpoint, kind: str, model: str) -> dict[str, Any]:
    prefix = "chatcmpl" if endpoint == "chat.completions" else "cmpl"
    return {
        "id": f"{prefix}-{new_id()}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }


def _tool_call_id() -> str:
    return f"call_{new_id().replace('-', '')[:24]}"


def build_embeddings(model: str, body: dict[str, Any], texts: list[str], prompt_tokens: int) -> dict[str, Any]:
    """A whole embeddings body: unit vectors that depend on the words, nearer for texts with more words in common."""
    wanted = body.get("dimensions")
    size = wanted if isinstance(wanted, int) and wanted > 0 else DIMENSIONS.get(model, DEFAULT_DIMENSIONS)
    if size * len(texts) > MOST_NUMBERS:
        raise ValueError("more numbers than one answer can hold")
    vectors = (embed(text, size) for text in texts)
    encode = _encode_base64 if body.get("encoding_format") == "base64" else list
    data = [{"object": "embedding", "index": i, "embedding": encode(vector)} for i, vector in enumerate(vectors)]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def embed(text: str, size: int) -> array[float]:
    """A unit vector of 32-bit floats by hashed words and word beginnings."""
    vector = array("f", bytes(4 * size))
    words = _WORD.findall(text.lower())
    for feature in chain(words, (word[:4] + "*" for word in words), [""] if words else [text]):
        digest = shake_128(feature.encode("utf-8", "surrogatepass")).digest(4 * _PLACES_PER_FEATURE)
        for place in array("I", digest):
            vector[(place >> 1) % size] += 1.0 if place & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return array("f", [value / length for value in vector])


def _encode_base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()

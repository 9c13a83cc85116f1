"""The bytes of requests and answers, the same for every target."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import orjson

HOST = "127.0.0.1"
MODEL = "gpt-4o-mini"
ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello there, how can I help you today with your question?",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 14,
            "total_tokens": 26,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": "fp_1",
    }
)
"""The one completion that the upstream gives."""

_QUESTION = "What is the weather in Berlin today, number %s?"
_numbers = itertools.count()


def body(model: str = MODEL, number: object = "%", **fields: object) -> bytes:
    """A chat completion request; ``number`` makes it unlike any other."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": _QUESTION % number},
    ]
    return orjson.dumps({"model": model, "messages": messages, "temperature": 0.7, **fields})


def request(port: int, content: bytes) -> bytes:
    """A whole HTTP request around a body."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer sk-bench\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def maker(port: int, *, repeat: bool, model: str = MODEL, prefix: str = "") -> Callable[[], bytes]:
    """Makes one request after the other: all alike, or no two alike (the template is filled in, not encoded anew)."""
    if repeat:
        alike = request(port, body(model, f"{prefix}same"))
        return lambda: alike
    whole = request(port, body(model, prefix + "0" * 9))
    before, after = whole.split(b"0" * 9)
    return lambda: b"%b%09d%b" % (before, next(_numbers), after)


def body_length(head: bytes) -> int:
    """Content length said in a response's head; raises ``ValueError`` when none is."""
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    return int(lower[start : lower.index(b"\r\n", start)])


def status(head: bytes) -> int:
    """The status code of a response."""
    return int(head[9:12])

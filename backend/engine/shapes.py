"""Shapes of calls for a load: how many tokens go in and come out, and a request body of that shape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

_TEXT = re.compile(r"(\d{1,7}):(\d{1,6})(?::(\d{1,7}))?")
TAKES_TOKENS = frozenset({"vllm", "sglang"})
"""Servers whose completions take a prompt as token numbers, and that can be told to go on past the end mark."""
_FIRST_TOKEN, _LAST_TOKEN = 100, 1000
"""Numbers that are ordinary tokens in every vocabulary in use."""
_WORDS = ("the", "count", "of", "every", "word", "in", "this", "list", "is", "written", "beside", "the", "owner")


@dataclass(frozen=True, slots=True)
class Shape:
    """Tokens of prompt and answer; the first ``shared_tokens`` of the prompt are the same in every call."""

    prompt_tokens: int
    completion_tokens: int
    shared_tokens: int = 0

    def __str__(self) -> str:
        shared = f":{self.shared_tokens}" if self.shared_tokens else ""
        return f"{self.prompt_tokens}:{self.completion_tokens}{shared}"


def read_shape(text: str) -> Shape:
    """A shape from ``PROMPT:COMPLETION`` or ``PROMPT:COMPLETION:SHARED``. Raises ``ValueError``."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no shape such as 256:64")
    shape = Shape(int(found[1]), int(found[2]), int(found[3] or 0))
    if shape.prompt_tokens < 1 or shape.completion_tokens < 1 or shape.shared_tokens > shape.prompt_tokens:
        raise ValueError(f"{text!r}: at least one token in and out, and no more shared than there are")
    return shape


def limit_shapes(pairs: Iterable[tuple[int, int]], context: int | None) -> tuple[Shape, ...]:
    """Shapes of recorded calls, answers and then prompts cut to what the engine's context holds."""
    shapes = []
    for prompt, completion in pairs:
        room = context or prompt + completion
        answer = max(min(completion, room // 2), 1) if prompt + completion > room else max(completion, 1)
        shapes.append(Shape(max(min(prompt, room - answer), 1), answer))
    return tuple(shapes)


def make_body(shape: Shape, model: str, server: str, chance: Random) -> dict[str, Any]:
    """A streamed completion request of this shape, unlike any other but for its shared beginning."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": shape.completion_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if server in TAKES_TOKENS:
        return body | {"prompt": _draw_tokens(shape, chance), "ignore_eos": True}
    return body | {"prompt": _draw_words(shape, chance)}


def _draw_tokens(shape: Shape, chance: Random) -> list[int]:
    shared = Random(shape.shared_tokens)  # noqa: S311 - the same beginning every time, no secret
    return [
        *(shared.randrange(_FIRST_TOKEN, _LAST_TOKEN) for _ in range(shape.shared_tokens)),
        *(chance.randrange(_FIRST_TOKEN, _LAST_TOKEN) for _ in range(shape.prompt_tokens - shape.shared_tokens)),
    ]


def _draw_words(shape: Shape, chance: Random) -> str:
    """About as many words as tokens; what they really were, the answer's usage says."""
    shared = (_WORDS[number % len(_WORDS)] for number in range(shape.shared_tokens))
    own = (chance.choice(_WORDS) for _ in range(shape.prompt_tokens - shape.shared_tokens))
    return " ".join([*shared, *own])

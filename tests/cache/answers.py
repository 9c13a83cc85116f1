"""Whole answers of every shape, for the properties of folding and of the cache."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
NAME = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=5,
)
USAGE = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 10**6), "completion_tokens": st.integers(0, 10**6)},
    optional={
        "prompt_tokens_details": st.dictionaries(NAME, st.integers(0, 9), max_size=2),
        "total_tokens": st.integers(0, 10**7),
    },
)
TOOL_CALL = st.builds(
    lambda number, name, arguments: {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    st.integers(0, 99),
    NAME,
    TEXT,
)
LOGPROBS = st.none() | st.fixed_dictionaries(
    {"content": st.none() | st.lists(st.fixed_dictionaries({"token": TEXT, "logprob": st.floats(-9, 0)}), max_size=3)}
)
EXTRA = st.dictionaries(NAME.map("x_{}".format), VALUE.filter(lambda value: value is not None), max_size=2)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """A message: text, reasoning, refusal, tool calls, and fields nobody knows."""
    message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | TEXT)}
    for name in ("refusal", "reasoning_content", "reasoning"):
        if draw(st.booleans()):
            message[name] = draw(TEXT.filter(bool))
    if draw(st.booleans()):
        message["tool_calls"] = draw(st.lists(TOOL_CALL, min_size=1, max_size=3))
    return message | draw(EXTRA)


@st.composite
def chats(draw: st.DrawFn, finish: tuple[str, ...] = ("stop", "length", "tool_calls")) -> dict[str, Any]:
    """A whole chat answer with up to three choices."""
    choices = [
        {
            "index": index,
            "message": draw(messages()),
            "logprobs": draw(LOGPROBS),
            "finish_reason": draw(st.sampled_from(finish)),
        }
        | draw(EXTRA)
        for index in range(draw(st.integers(1, 3)))
    ]
    frame = {"id": draw(NAME), "object": "chat.completion", "created": 1, "model": draw(NAME), "choices": choices}
    return frame | {"usage": draw(USAGE)} | draw(EXTRA)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """A whole answer in the older shape."""
    choices = [
        {
            "index": index,
            "text": draw(TEXT),
            "logprobs": None,
            "finish_reason": draw(st.sampled_from(["stop", "length"])),
        }
        for index in range(draw(st.integers(1, 3)))
    ]
    frame = {"id": draw(NAME), "object": "text_completion", "created": 1, "model": draw(NAME), "choices": choices}
    return frame | {"usage": draw(USAGE)}

"""Estimates of tokens: of what was asked, and of what a model said and nobody counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.upstream.estimate import prompt_tokens_of, tokens_of, visible_text
from tests.cache.answers import VALUE
from tests.fakes import call, event, whole


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("世界", 2), ("\ud800", 1)])
def test_four_bytes_are_a_token(text: str, tokens: int) -> None:
    assert tokens_of(text) == tokens


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "hello"}]}, 4 + 1 + 2),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}, 4 + 1 + 1 + 2),
        ({"prompt": "hello"}, 2),
        ({"prompt": ["hello", "world"]}, 4),
        ({"input": [1, 2, 3]}, 3),
        ({"input": [[1, 2], [3]]}, 3),
        ({"input": "abcd", "tools": [{"a": "abcd"}]}, 2),
        ({"prompt": None}, 0),
        ({}, 0),
        ({"messages": "abcd", "prompt": "abcd"}, 1),
    ],
)
def test_what_a_prompt_counts_for(body: dict[str, Any], tokens: int) -> None:
    assert prompt_tokens_of(body) == tokens


def test_a_picture_in_the_prompt_is_not_counted_as_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    assert prompt_tokens_of({"messages": [{"role": "user", "content": [picture]}]}) < 20


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        (event({"role": "assistant", "content": ""}), 0),
        (event({"content": "abcde"}), 2),
        (event({"reasoning_content": "abcd", "content": "abcd"}), 2),
        (event({}, "stop"), 0),
        (event({}, choices=[]), 0),
        (event({}, choices=None), 0),
        (event({"tool_calls": [{"index": 0, "id": "call_1234567890", "type": "function"}]}), 0),
        (event({"tool_calls": [{"index": 0, "function": {"name": "abcd", "arguments": "{}"}}]}), 2),
        (whole("abcd"), 1),
        ({"choices": [{"text": "abcde"}, {"text": "abcd"}]}, 3),
    ],
)
def test_only_what_a_model_said_is_counted(said: dict[str, Any], tokens: int) -> None:
    assert visible_text(said) == tokens


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "tools"]), VALUE, max_size=3))
def test_no_request_makes_the_estimate_raise(body: dict[str, Any]) -> None:
    assert prompt_tokens_of(call().body | body) >= 0

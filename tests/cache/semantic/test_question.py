from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.semantic.question import MOST_CHARACTERS, Unsuited, read_question
from backend.settings.knobs import CacheSettings
from tests.fakes import call

SETTINGS = CacheSettings()


def ask(text: Any = "How do I reset it?", tenant: str = "a", settings: CacheSettings = SETTINGS, **body: Any) -> bytes:
    """The partition of a question."""
    earlier = body.pop("earlier", [])
    return read_question(
        call(messages=[*earlier, {"role": "user", "content": text}], **body), tenant, settings
    ).partition


def test_the_question_is_the_last_user_turn() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert read_question(call(messages=messages), "a", SETTINGS).text == "Why?"


def test_parts_of_text_are_one_question() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert read_question(call(messages=[{"role": "user", "content": parts}]), "a", SETTINGS).text == "one\ntwo"


def test_other_words_are_the_same_partition() -> None:
    assert ask("How do I reset it?") == ask("What resets it?")


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "b"},
        {"model": "other"},
        {"earlier": [{"role": "system", "content": "Be rude."}]},
        {"earlier": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"temperature": 0.2},
        {"max_tokens": 5},
        {"seed": 7},
        {"n": 2},
        {"anything_new": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_else_changes_the_answer_is_another_partition(change: dict[str, Any]) -> None:
    assert ask(**change) != ask()


@pytest.mark.parametrize("change", [{"stream": True}, {"user": "u-7"}, {"metadata": {"feature": "x"}}])
def test_what_changes_no_answer_is_the_same_partition(change: dict[str, Any]) -> None:
    assert ask(**change) == ask()


def test_a_namespace_of_the_caller_is_another_partition() -> None:
    named = call(messages=[{"role": "user", "content": "How do I reset it?"}])
    named.cache = {"namespace": "beta"}
    assert read_question(named, "a", SETTINGS).partition != ask()


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_two_tenants_ever_share_a_partition(one: str, other: str) -> None:
    assert (ask(tenant=one) == ask(tenant=other)) == (one == other)


def test_tenants_of_a_named_pool_share_and_others_do_not() -> None:
    settings = CacheSettings(shared_pools=("docs = a, b",))
    assert ask(tenant="a", settings=settings) == ask(tenant="b", settings=settings)
    assert ask(tenant="c", settings=settings) != ask(tenant="a", settings=settings)
    assert ask(tenant="docs", settings=settings) != ask(tenant="a", settings=settings)


@pytest.mark.parametrize("pools", [("a, b",), ("x = a",), ("x = a, b", "y = b, c"), ("= a, b",)])
def test_a_pool_that_says_too_little_or_too_much_is_refused(pools: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"pool|form"):
        CacheSettings(shared_pools=pools)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "so?"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "this?"}, {"type": "input_audio"}]}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "   "}],
        [{"role": "user", "content": 7}],
        [{"role": "user"}],
        [{"role": "user", "content": "a" * (MOST_CHARACTERS + 1)}],
        [{"role": "tool", "content": "42"}],
    ],
)
def test_what_is_no_question_is_not_compared(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(Unsuited):
        read_question(call(messages=messages), "a", SETTINGS)


def test_only_chat_is_compared() -> None:
    with pytest.raises(Unsuited, match="chat"):
        read_question(call(endpoint="completions", prompt="Why?"), "a", SETTINGS)

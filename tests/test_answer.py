"""Whole answers and streams of one: what is folded is what was unfolded, field for field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.answer import Fold, unfold
from tests.cache.answers import chats, completions
from tests.fakes import event, events, usage, whole

LIMIT = 10**9


def fold(stream: list[dict[str, Any]], limit: int = LIMIT) -> dict[str, Any] | None:
    gathered = Fold(limit)
    for each in stream:
        gathered.add(each, len(orjson.dumps(each)))
    return gathered.answer()


@settings(max_examples=40)
@given(chats(), st.integers(1, 30))
def test_folding_what_was_unfolded_gives_the_answer_again(answer: dict[str, Any], piece: int) -> None:
    again = fold(list(unfold(answer, with_usage=True, piece=piece)))
    assert again is not None
    assert again | {"created": 1} == answer


@settings(max_examples=40)
@given(completions(), st.integers(1, 30))
def test_the_same_holds_for_the_older_shape(answer: dict[str, Any], piece: int) -> None:
    again = fold(list(unfold(answer, with_usage=True, piece=piece)))
    assert again is not None
    assert again | {"created": 1} == answer


@settings(max_examples=40)
@given(chats())
def test_unfolded_events_are_what_openai_sends(answer: dict[str, Any]) -> None:
    for with_usage in (True, False):
        stream = list(unfold(answer, with_usage=with_usage))
        if with_usage:
            last = stream.pop()
            assert (last["choices"], last["usage"]) == ([], answer["usage"])
        assert all(each["object"] == "chat.completion.chunk" and len(each["choices"]) == 1 for each in stream)
        for choice in answer["choices"]:
            own = [each["choices"][0] for each in stream if each["choices"][0]["index"] == choice["index"]]
            assert own[0]["delta"]["role"] == "assistant"
            assert [each["finish_reason"] for each in own[:-1]] == [None] * (len(own) - 1)
            assert own[-1]["finish_reason"] == choice["finish_reason"]
            assert all(piece["index"] == number for number, piece in enumerate(_tool_pieces(own)))


def _tool_pieces(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [piece for choice in choices for piece in choice["delta"].get("tool_calls") or []]


def test_an_answer_without_usage_has_no_event_for_it() -> None:
    answer = whole()
    del answer["usage"]
    assert all(each["choices"] for each in unfold(answer, with_usage=True))


def test_pieces_of_a_tool_call_are_put_together() -> None:
    opening = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": text}} for text in ('{"a"', ": ", "1}")]
    stream = [event({"role": "assistant", "tool_calls": [opening]}), *(event({"tool_calls": [p]}) for p in pieces)]
    answer = fold([*stream, event({}, "tool_calls")])
    assert answer is not None
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]


@given(st.permutations(range(6)))
def test_choices_that_arrive_in_turns_are_kept_apart(order: list[int]) -> None:
    stream = [event({"content": str(number)}) for number in order]
    for number, each in zip(order, stream, strict=True):
        each["choices"][0]["index"] = number % 3
    answer = fold(stream)
    assert answer is not None
    expected = ["".join(str(n) for n in order if n % 3 == index) for index in range(3)]
    assert [choice["message"]["content"] for choice in answer["choices"]] == expected


def test_the_last_usage_wins() -> None:
    stream = [event({"content": "a"}, usage=usage(1, 1)), event({}, "stop", usage=usage(1, 2)), event({}, usage=None)]
    answer = fold(stream)
    assert answer is not None
    assert answer["usage"] == usage(1, 2)


def test_an_answer_beyond_the_limit_is_given_up() -> None:
    stream = events("x" * 1000, "y")
    assert fold(stream, limit=1000) is None
    assert fold(stream, limit=100_000) is not None


@pytest.mark.parametrize("stream", [[], [event({}, choices=[])], [event({}, choices=None)]])
def test_a_stream_that_says_nothing_is_no_answer(stream: list[dict[str, Any]]) -> None:
    assert fold(stream) is None


def test_logprobs_are_joined() -> None:
    stream = [event({"content": text}) for text in "ab"]
    for text, each in zip("ab", stream, strict=True):
        each["choices"][0]["logprobs"] = {"content": [{"token": text}], "refusal": None}
    answer = fold(stream)
    assert answer is not None
    assert answer["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}

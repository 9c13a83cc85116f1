"""Tool calls and structured output, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.contract.place import assert_sound, chat
from tests.contract.speakers import Outcome, Speaker

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1},
    },
    "required": ["title", "score", "tags"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": CITY}}]
MODELS = ["fake/tool-calls", "fake/tool-calls:40", "fake/two-tools", "gpt-4o-mini"]


def tool_params(model: str) -> dict[str, Any]:
    forced = {"tool_choice": "required"} if model == "gpt-4o-mini" else {}
    return chat(model, tools=TOOLS) | forced


def gather(outcome: Outcome) -> list[dict[str, Any]]:
    """Tool calls put together from a stream the way a careful program does."""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in outcome.chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls") or []:
            call = calls.setdefault(piece["index"], {"arguments": ""})
            call |= {name: piece[name] for name in ("id", "type") if piece.get(name)}
            function = piece.get("function") or {}
            call |= {"name": function["name"]} if function.get("name") else {}
            call["arguments"] += function.get("arguments") or ""
    return [calls[index] for index in sorted(calls)]


@pytest.mark.parametrize("model", MODELS)
def test_streamed_tool_calls_arrive_in_pieces_and_are_whole(speaker: Speaker, model: str) -> None:
    outcome = speaker.ask("stream", params=tool_params(model))
    assert outcome.error is None
    assert [choice["finish_reason"] for chunk in outcome.chunks for choice in chunk["choices"]][-1] == "tool_calls"
    calls = gather(outcome)
    assert len(calls) == (2 if model == "fake/two-tools" else 1)
    for call in calls:
        assert call["id"]
        assert call["type"] == "function"
        assert isinstance(json.loads(call["arguments"]), dict)
    assert calls[0]["name"] == "get_weather"


@pytest.mark.parametrize("model", ["fake/tool-calls", "gpt-4o-mini"])
def test_a_whole_tool_call_is_an_answer(speaker: Speaker, model: str) -> None:
    outcome = speaker.ask("create", params=tool_params(model))
    assert_sound(outcome)
    (choice,) = outcome.value["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    jsonschema.validate(json.loads(call["function"]["arguments"]), CITY)


@pytest.mark.parametrize("model", ["fake/tool-calls:9", "fake/two-tools"])
def test_the_clients_own_accumulator_puts_tool_calls_together(speaker: Speaker, model: str) -> None:
    gathered = speaker.ask("accumulate", params={**chat(model), "tools": TOOLS})
    if gathered.value is None and gathered.error is None:
        pytest.skip("curl accumulates nothing")
    assert_sound(gathered)
    calls = gathered.value["choices"][0]["message"]["tool_calls"]
    assert all(json.loads(call["function"]["arguments"]) for call in calls)


@pytest.mark.parametrize("op", ["create", "stream"])
def test_structured_output_keeps_to_its_schema(speaker: Speaker, op: str) -> None:
    outcome = speaker.ask(op, params=chat("gpt-4o-mini", response_format=FORMAT))
    assert outcome.error is None
    jsonschema.validate(json.loads(outcome.text), SCHEMA)


def test_schemas_and_tools_reach_the_upstream_untouched(speaker: Speaker) -> None:
    asked = chat("fake/reflect", tools=TOOLS, tool_choice="auto", response_format=FORMAT, parallel_tool_calls=False)
    assert json.loads(speaker.ask("create", params=asked).text) == asked


def test_an_answer_that_calls_tools_is_not_cached(speaker: Speaker) -> None:
    asked = tool_params("fake/tool-calls")
    for op in ("create", "create", "stream", "stream"):
        assert speaker.ask(op, params=asked).headers["x-governor-cache"] == "MISS"

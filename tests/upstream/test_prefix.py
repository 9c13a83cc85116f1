"""Prefix caching: marks only for providers that need them, only on prefixes that come again, never on the caller's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from backend.settings.knobs import Deployment, UpstreamSettings
from backend.upstream.prefix import LEAST_TOKENS, LIFETIME_S, PrefixCaching, wants_marks
from tests.fakes import deployment

KNOBS = UpstreamSettings()
LONG = "All about our plans. " * (LEAST_TOKENS // 4)
CLAUDE = deployment("claude", provider="anthropic", model="claude")
TOOL = {"type": "function", "function": {"name": "look", "description": LONG}}


def ask(*earlier: dict[str, Any], text: str = "Why?", **body: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [*earlier, {"role": "user", "content": text}], **body}


def system(text: str = LONG) -> dict[str, Any]:
    return {"role": "system", "content": text}


def shape_twice(body: dict[str, Any], to: Deployment = CLAUDE) -> tuple[dict[str, Any], list[str]]:
    caching = PrefixCaching()
    assert caching.shape(deepcopy(body), to, KNOBS) == (body, [])
    return caching.shape(body, to, KNOBS)


def test_the_first_call_pays_for_no_mark_and_the_second_marks_what_came_again() -> None:
    body, notes = shape_twice(ask(system()))
    [part] = body["messages"][0]["content"]
    assert part == {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    assert body["messages"][1] == {"role": "user", "content": "Why?"}
    assert [note.partition(", about")[0] for note in notes] == ["prefix: breakpoint after system prompt"]


def test_the_question_may_change_for_it_is_no_part_of_the_prefix() -> None:
    caching = PrefixCaching()
    caching.shape(ask(system(), text="one"), CLAUDE, KNOBS)
    body, notes = caching.shape(ask(system(), text="two"), CLAUDE, KNOBS)
    assert len(notes) == 1
    assert body["messages"][1]["content"] == "two"


def test_tools_system_prompt_and_earlier_turns_each_get_a_mark() -> None:
    turns = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yes?"}]})
    body, notes = shape_twice(ask(system(), *turns, tools=[TOOL]))
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][2]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert len(notes) == 3


def test_the_callers_body_is_never_changed() -> None:
    turns = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yes?"}]})
    original = ask(system(), *turns, tools=[TOOL])
    kept = deepcopy(original)
    shape_twice(original)
    assert original == kept


@pytest.mark.parametrize(
    "body",
    [
        ask(),
        ask(system("Be brief.")),
        ask({"role": "system", "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]}),
        ask({"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"arguments": LONG}}]}),
        {"model": "m", "prompt": LONG},
        {"model": "m", "input": [LONG]},
    ],
)
def test_what_is_short_marked_already_or_cannot_be_marked_is_left_alone(body: dict[str, Any]) -> None:
    assert shape_twice(body) == (body, [])


@pytest.mark.parametrize("provider", ["openai", "deepseek", "gemini", "simulated"])
def test_providers_that_find_prefixes_themselves_are_told_nothing(provider: str) -> None:
    body = ask(system())
    assert shape_twice(body, deployment("d", provider=provider)) == (body, [])


@pytest.mark.parametrize(
    ("provider", "model", "wanted"),
    [
        ("anthropic", "sonnet", True),
        ("bedrock", "anthropic.claude-4", True),
        ("vertex_ai", "claude-4", True),
        ("bedrock", "amazon.nova", False),
        ("openai", "claude-like", False),
    ],
)
def test_only_anthropics_models_want_marks(provider: str, model: str, wanted: bool) -> None:
    assert wants_marks(deployment("d", provider=provider, model="m", upstream_model=model)) is wanted


def test_a_prefix_that_has_long_been_forgotten_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    caching, now = PrefixCaching(), [0.0]
    monkeypatch.setattr("backend.upstream.prefix.time.monotonic", lambda: now[0])
    caching.shape(ask(system()), CLAUDE, KNOBS)
    now[0] = LIFETIME_S + 1
    assert caching.shape(ask(system()), CLAUDE, KNOBS)[1] == []
    now[0] += 1
    assert len(caching.shape(ask(system()), CLAUDE, KNOBS)[1]) == 1


def test_breakpoints_can_be_switched_off() -> None:
    caching, off = PrefixCaching(), UpstreamSettings(prefix_breakpoints="off")
    for _ in range(3):
        assert caching.shape(ask(system()), CLAUDE, off)[1] == []


def test_tools_are_put_in_order_only_when_asked() -> None:
    tools: list[dict[str, Any]] = [{"type": "function", "function": {"name": name}} for name in ("b", "a")]
    body = ask(tools=tools)
    assert PrefixCaching().shape(body, deployment(), KNOBS) == (body, [])
    ordered, notes = PrefixCaching().shape(body, deployment(), UpstreamSettings(prefix_order=True))
    assert [tool["function"]["name"] for tool in ordered["tools"]] == ["a", "b"]
    assert [tool["function"]["name"] for tool in tools] == ["b", "a"]
    assert notes == ["prefix: tools put in a stable order"]

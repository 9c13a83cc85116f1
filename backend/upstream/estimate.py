"""Token counts when nobody reports them: an estimate, always marked as one.

Four bytes a token, the usual rule for English text and byte-pair encodings; every message adds four for its frame.
"""

from __future__ import annotations

from typing import Any

_BYTES_PER_TOKEN = 4
_FRAME_TOKENS = 4
_UNSAID = frozenset({"role", "id", "type", "index"})
"""Fields of an answer that no model produced."""


def tokens_of(text: str) -> int:
    """Estimated tokens of a text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def prompt_tokens_of(body: dict[str, Any]) -> int:
    """Estimated tokens of a request: messages, prompt or input, and tools."""
    messages = body.get("messages")
    if isinstance(messages, list):
        total = sum(_FRAME_TOKENS + _tokens_in(message) for message in messages)
    else:
        total = _tokens_in(body.get("prompt", body.get("input")))
    return total + (_tokens_in(body["tools"]) if body.get("tools") else 0)


def _tokens_in(value: Any) -> int:
    """Tokens of all text in a JSON value; a list of integers is tokens already."""
    total, stack = 0, [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            total += 0 if each.startswith("data:") else tokens_of(each)
        elif isinstance(each, dict):
            stack.extend(each.values())
        elif isinstance(each, list):
            numbers = sum(isinstance(member, int) for member in each)
            total += numbers
            stack.extend(each if not numbers else ())
    return total


def visible_text(event: dict[str, Any]) -> int:
    """Estimated completion tokens that an answer or one of its stream events carries."""
    total = 0
    for choice in event.get("choices") or ():
        spoken = choice.get("delta") or choice.get("message") or choice.get("text")
        if spoken:
            total += _tokens_said(spoken)
    return total


def _tokens_said(value: Any) -> int:
    """Tokens of what a model produced; of a tool call, its name and arguments."""
    if isinstance(value, str):
        return tokens_of(value)
    if isinstance(value, dict):
        return sum(_tokens_said(each) for name, each in value.items() if each and name not in _UNSAID)
    return sum(map(_tokens_said, value)) if isinstance(value, list) else 0

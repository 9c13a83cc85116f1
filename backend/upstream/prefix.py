"""Provider prefix caching: a stable order of what comes first, and breakpoints for providers that want to be told.

OpenAI, Gemini, DeepSeek and vLLM find common prefixes by themselves; Anthropic's models keep what stands before a
``cache_control`` mark, at a surcharge for writing (https://docs.anthropic.com, "Prompt caching"). So a mark is only set
where the same prefix came before within its lifetime: a prefix nobody repeats is never paid for.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment, UpstreamSettings

LIFETIME_S = 300.0
LEAST_TOKENS = 1024
_CHARACTERS_PER_TOKEN = 4
_MOST_REMEMBERED = 50_000
_MARK = {"type": "ephemeral"}
_CLAUDE_HOSTS = frozenset({"bedrock", "vertex_ai", "azure_ai"})


@dataclass(slots=True, frozen=True)
class Prefix:
    """Everything up to one possible mark."""

    place: str
    digest: bytes
    tokens: int
    """About."""


class PrefixCaching:
    """Remembers which prefixes came by lately in this worker."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def shape(
        self, body: dict[str, Any], deployment: Deployment, settings: UpstreamSettings
    ) -> tuple[dict[str, Any], list[str]]:
        """The body to send and what was done to it, in words; the caller's own marks are left alone."""
        notes: list[str] = []
        if settings.prefix_order and _is_unsorted(body.get("tools")):
            body = {**body, "tools": sorted(body["tools"], key=_name_of)}
            notes.append("prefix: tools put in a stable order")
        if settings.prefix_breakpoints == "auto" and wants_marks(deployment) and not _is_marked(body):
            body, marked = self._mark(body)
            notes += marked
        return body, notes

    def _mark(self, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        now, notes = time.monotonic(), []
        for prefix in find_prefixes(body):
            seen_at = self._seen.pop(prefix.digest, None)
            self._seen[prefix.digest] = now
            if seen_at is not None and now - seen_at < LIFETIME_S:
                body = set_mark(body, prefix.place)
                notes.append(f"prefix: breakpoint after {prefix.place}, about {prefix.tokens:,} tokens")
        while len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return body, notes


def wants_marks(deployment: Deployment) -> bool:
    """Whether the deployment's provider keeps prefixes only where a request marks them."""
    model = deployment.upstream_model or deployment.model
    return deployment.provider == "anthropic" or (deployment.provider in _CLAUDE_HOSTS and "claude" in model)


def find_prefixes(body: dict[str, Any]) -> list[Prefix]:
    """The places worth a mark: after the tools, the system prompt, and the turns before the last one."""
    messages = body.get("messages") or []
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    earlier = messages[:-1] if messages[:-1] != system else []
    tools = _dump(body.get("tools") or [])
    found, digest = [], blake2b(_dump(body.get("model")) + tools, digest_size=16)
    for place, content in (("tools", body.get("tools")), ("system prompt", system), ("earlier turns", earlier)):
        data = _dump(content) if place != "tools" else b""
        digest.update(data)
        tokens = (len(tools) + len(data)) // _CHARACTERS_PER_TOKEN
        if content and tokens >= LEAST_TOKENS and _can_mark(body, place):
            found.append(Prefix(place, digest.digest(), tokens))
    return found


def _dump(content: object) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS, default=str)


def set_mark(body: dict[str, Any], place: str) -> dict[str, Any]:
    """A copy of the body with a mark at the end of this prefix."""
    if place == "tools":
        *first, last = body["tools"]
        return {**body, "tools": [*first, {**last, "cache_control": _MARK}]}
    at, messages = _end_of(body, place), list(body["messages"])
    message = messages[at]
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    messages[at] = {**message, "content": [*parts[:-1], {**parts[-1], "cache_control": _MARK}]}
    return {**body, "messages": messages}


def _end_of(body: dict[str, Any], place: str) -> int:
    messages = body["messages"]
    if place == "earlier turns":
        return len(messages) - 2
    roles = [isinstance(each, dict) and each.get("role") in ("system", "developer") for each in messages]
    return max(at for at, is_system in enumerate(roles) if is_system)


def _can_mark(body: dict[str, Any], place: str) -> bool:
    """Whether there is a part at the end of this prefix that can carry a mark."""
    if place == "tools":
        return isinstance(body["tools"][-1], dict)
    message = body["messages"][_end_of(body, place)]
    content = message.get("content") if isinstance(message, dict) else None
    return bool(content) and (isinstance(content, str) or (isinstance(content, list) and isinstance(content[-1], dict)))


def _is_marked(body: dict[str, Any]) -> bool:
    return b'"cache_control"' in orjson.dumps([body.get("messages"), body.get("tools")], default=str)


def _is_unsorted(tools: object) -> bool:
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return False
    names = [_name_of(tool) for tool in tools]
    return names != sorted(names)


def _name_of(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    return str(function.get("name") if isinstance(function, dict) else tool.get("name"))

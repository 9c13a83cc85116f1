"""What was asked and answered, where bodies are captured: always as text, never as markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import streamlit as st

from backend.reports.call_detail import Body, CallDetail
from pages.components import format as fmt

SETTINGS = "pages/tune/settings.py"


def draw_messages(detail: CallDetail) -> None:
    """The conversation and the answer, or why they are not there."""
    if detail.request is None and detail.response is None:
        st.caption("The bodies of this call were not kept. Governor records numbers only, unless told otherwise.")
        st.page_link(SETTINGS, label="Capture bodies", icon=":material/tune:", query_params={"section": "ledger"})
        return
    if detail.request:
        _draw_body("Request", detail.request, _asked)
    if detail.response:
        _draw_body("Answer", detail.response, _answered)


def _draw_body(title: str, body: Body, read: Any) -> None:
    parts = list(_read_safely(body, read))
    st.caption(f"{title} · {body.bytes:,} bytes{' · cut' if body.cut else ''}")
    for role, text in parts:
        st.markdown(f"**{fmt.plain(role)}**")
        st.code(text, language=None, wrap_lines=True)
    if not parts:
        st.code(body.text, language="json", wrap_lines=True)


def _read_safely(body: Body, read: Any) -> Iterator[tuple[str, str]]:
    try:
        yield from list(read(json.loads(body.text)))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        return


def _asked(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for message in body.get("messages", ()):
        yield str(message.get("role", "message")), _text(message)
    if "prompt" in body:
        yield "prompt", _plain(body["prompt"])
    if "input" in body:
        yield "input", _plain(body["input"])


def _answered(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for choice in body.get("choices", ()):
        message = choice.get("message")
        yield (str(message.get("role", "assistant")), _text(message)) if message else ("text", _plain(choice["text"]))


def _text(message: dict[str, Any]) -> str:
    parts = [_plain(message["content"])] if message.get("content") is not None else []
    if message.get("tool_calls"):
        parts.append(json.dumps(message["tool_calls"], indent=2, ensure_ascii=False))
    return "\n".join(parts)


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)

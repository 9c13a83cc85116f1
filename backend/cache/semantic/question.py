"""What a call asks, and of what its answer depends besides: the question, and the partition it is compared within."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from backend.cache.exact import NOT_ANSWER_CHANGING

if TYPE_CHECKING:
    from backend.call import Call
    from backend.settings.knobs import CacheSettings

MOST_CHARACTERS = 1_000
"""Longer ones are documents rather than questions: no embedding of a sentence says what is in them."""
_BLANK = "\0question"


@dataclass(slots=True, frozen=True)
class Question:
    """The last user turn, and the partition: sixteen bytes for everything else that the answer depends on."""

    text: str
    partition: bytes


class Unsuited(Exception):
    """This call is no question to be compared with others; its text is short and goes to the call's notes."""


def read_question(call: Call, tenant: str, settings: CacheSettings) -> Question:
    """The question of a call; raises ``Unsuited``.

    The partition is the whole request with the question blanked out: model, system prompt, earlier turns, tools,
    response format and sampling are all in it, and whose request it is: the tenant, or the shared pool it belongs to.
    """
    if call.endpoint != "chat.completions":
        raise Unsuited("only chat questions are compared")
    *earlier, last = call.body["messages"]
    if last.get("role") != "user":
        raise Unsuited("the last turn is not the user's")
    text = _read_text(last.get("content"))
    if not text.strip():
        raise Unsuited("the last turn is not text alone")
    if len(text) > MOST_CHARACTERS:
        raise Unsuited(f"the question is longer than {MOST_CHARACTERS} characters")
    rest = {name: value for name, value in call.body.items() if name not in NOT_ANSWER_CHANGING}
    rest["messages"] = [*earlier, {**last, "content": _BLANK}]
    pool = settings.pool_of(tenant)
    whose = ["pool", pool] if pool is not None else ["tenant", tenant]
    return Question(text, _digest([whose, str(call.cache.get("namespace") or ""), rest]))


def _read_text(content: object) -> str:
    """The text of a turn; empty when it holds anything but text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        return ""
    return "\n".join(map(str, texts))


def _digest(content: list[Any]) -> bytes:
    try:
        data = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        data = repr(content).encode()
    return blake2b(data, digest_size=16, person=b"partition").digest()

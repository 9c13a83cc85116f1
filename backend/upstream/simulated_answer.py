"""What the simulated provider says: a labelled answer that depends on the prompt and the model alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from math import exp
from statistics import NormalDist
from typing import Any, Literal

import orjson

from backend.upstream.simulated_schema import build_instance

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 85
TOKENS_PER_MESSAGE = 4

_NORMAL = NormalDist()
_PIECE = re.compile(r"\s?\S{1,5}|\s")
_SENTENCES = (
    "No model was called for this answer.",
    "It has the length, the pace and the price that an answer of this model would have.",
    "The same question always gets the same words back.",
    "Point a deployment at a real provider and this text is replaced by what it says.",
    "Tokens are estimated at about four characters each.",
    "A tide gauge does not ask who is watching, and neither does a ledger.",
    "First the valve opens a little, then the wheel slows, then the valve closes again.",
    "The reading at noon agreed with the reading at midnight to within one part in a thousand.",
    "What is measured twice can be argued about; what is measured once has to be believed.",
    "Consider the cost of an hour, then the cost of a second, and see whether they agree.",
    "The longer the queue, the more a small delay at its head is worth.",
    "Between the request and the reply there is time enough to write both of them down.",
    "A steady engine is not one that never changes speed, but one that always comes back.",
    "Nothing in this paragraph should be relied on, except that it will be the same tomorrow.",
)


@dataclass(slots=True, frozen=True)
class Prompt:
    """What was asked, as one text, and about how many tokens it is."""

    text: str
    tokens: int


@dataclass(slots=True, frozen=True)
class Answer:
    """One choice: its tokens as text pieces (of the content, or of the tool's arguments) and why it ended."""

    pieces: tuple[str, ...]
    finish_reason: Literal["stop", "length", "tool_calls"]
    tool: str | None = None

    @property
    def text(self) -> str:
        """The whole content, or the tool's arguments."""
        return "".join(self.pieces)


def count_tokens(text: str) -> int:
    """A cheap estimate: about four characters to a token."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def read_prompt(body: dict[str, Any]) -> Prompt:
    """The prompt of a chat, completion or embedding body; content parts that are not text count as images."""
    images = 0
    lines: list[str] = []
    for message in body.get("messages") or ():
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else ("", message)
        texts = list(_read_parts(content))
        images += sum(text is None for text in texts)
        lines.append(f"{role}: " + " ".join(text for text in texts if text))
    lines += [text or "" for text in _read_parts(body.get("prompt"))]
    if body.get("tools"):
        lines.append(orjson.dumps(body["tools"]).decode())
    text = "\n".join(lines)
    extra = TOKENS_PER_MESSAGE * len(body.get("messages") or ())
    return Prompt(text, count_tokens(text) + extra + images * TOKENS_PER_IMAGE)


def _read_parts(content: Any) -> Iterator[str | None]:
    """Texts of a content; None for a part that is not text."""
    if content is None:
        return
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict):
            yield part.get("text") if isinstance(part.get("text"), str) else None
        else:
            yield part if isinstance(part, str) else str(part)


def draw_seed(*parts: object) -> int:
    """A number of 128 bits that depends on the parts alone."""
    digest = blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=16)
    return int.from_bytes(digest.digest(), "little")


def draw_share(seed: int) -> float:
    """A number in (0, 1) from the low bits of a seed."""
    return ((seed & 0xFFFF_FFFF) + 0.5) / 0x1_0000_0000


def draw_spread(seed: int, sigma: float) -> float:
    """A log-normal factor with median 1."""
    return exp(sigma * _NORMAL.inv_cdf(draw_share(seed)))


def compose_answer(body: dict[str, Any], model: str, seed: int, median_tokens: int) -> Answer:
    """One choice for a body: a tool call when one is demanded, JSON when asked for, else labelled prose."""
    limit = _read_limit(body)
    tool = _choose_tool(body)
    if tool is not None:
        arguments = orjson.dumps(build_instance(tool.get("parameters") or {"type": "object"})).decode()
        named = isinstance(body["tool_choice"], dict)
        return _cut(tuple(_PIECE.findall(arguments)), limit, "stop" if named else "tool_calls", str(tool.get("name")))
    document = _compose_document(body, model)
    if document is not None:
        return _cut(tuple(_PIECE.findall(orjson.dumps(document).decode())), limit, "stop")
    wanted = max(1, round(median_tokens * draw_spread(seed, 0.5)))
    return _stop_early(
        _cut(_compose_prose(model, seed, max(wanted, len(_label(model)))), limit, "stop"), body.get("stop")
    )


def _read_limit(body: dict[str, Any]) -> int | None:
    limits = [body.get("max_completion_tokens"), body.get("max_tokens")]
    return next((max(1, limit) for limit in limits if isinstance(limit, int)), None)


def _choose_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    """The function that ``tool_choice`` demands, if it demands one."""
    choice = body.get("tool_choice")
    functions = [tool["function"] for tool in body.get("tools") or () if isinstance(tool.get("function"), dict)]
    if choice == "required":
        return next(iter(functions), None)
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((function for function in functions if function.get("name") == name), None)
    return None


def _compose_document(body: dict[str, Any], model: str) -> Any:
    """The JSON that ``response_format`` asks for; None when prose will do."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        return build_instance((wanted.get("json_schema") or {}).get("schema") or {"type": "object"})
    if wanted.get("type") == "json_object":
        return {"simulated": model, "answer": _SENTENCES[0]}
    return None


def _compose_prose(model: str, seed: int, tokens: int) -> tuple[str, ...]:
    return tuple(islice(_speak(model, seed), tokens))


def _speak(model: str, seed: int) -> Iterator[str]:
    yield from _label(model)
    while True:
        yield from _SPOKEN[seed % len(_SPOKEN)]
        seed = (seed * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 127)


@lru_cache(maxsize=256)
def _label(model: str) -> tuple[str, ...]:
    return tuple(_PIECE.findall(f"[simulated {model}]"))


_SPOKEN = tuple(tuple(_PIECE.findall(f" {sentence}")) for sentence in _SENTENCES)


def _cut(
    pieces: tuple[str, ...], limit: int | None, reason: Literal["stop", "tool_calls"], tool: str | None = None
) -> Answer:
    if limit is not None and len(pieces) > limit:
        return Answer(pieces[:limit], "length", tool)
    return Answer(pieces, reason, tool)


def _stop_early(answer: Answer, stop: Any) -> Answer:
    """Ends the answer before the first stop sequence in it."""
    sequences = [each for each in ([stop] if isinstance(stop, str) else stop or ()) if each]
    text = answer.text if sequences else ""
    ends = [place for place in map(text.find, sequences) if place >= 0]
    if not ends:
        return answer
    return Answer(tuple(_PIECE.findall(text[: min(ends)])), "stop")

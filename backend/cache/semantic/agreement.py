"""Whether two answers say the same: word for word, as numbers, as JSON, as tool calls, or by their embeddings.

Where it errs it says "different": a label too strict costs hits, one too lax costs trust. Other numbers or a negation
on one side only make otherwise similar answers different. It does not judge what it cannot compare.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import numpy as np
import orjson

Answer = Mapping[str, Any]
Source = Literal["exact", "numeric", "structured", "embedding"]
Vectors = Sequence[np.ndarray]
Verdict = tuple[bool | None, Source]
"""Same, different or unknown (None), and what that was read from."""

_SHORT_WORDS = 12
_FENCE = re.compile(r"^```\w*\s*\n(.*)\n\s*```$", re.DOTALL)
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w.,])[-+−]?\d+(?:[.,:/-]\d+)*")
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NEGATIONS = frozenset(
    word
    for words in (
        "no not never none nothing nor neither cannot without",
        "nunca jamás ningún ninguna nada tampoco sin",
        "não nem jamais sem nenhum nenhuma",
        "nicht kein keine keinen keiner keinem nie niemals ohne nein",
        "ne pas aucun aucune sans non",
    )
    for word in words.split()
)


def agree(fresh: Answer, cached: Answer, vectors: Vectors | None = None, least_cosine: float = 0.92) -> Verdict:
    """Whether a cached answer says what the fresh one says; both are whole answers with ``choices``.

    ``vectors`` are unit embeddings of ``text_of`` of both. Without them the verdict may be ``(None, "embedding")``:
    embed both and ask again.
    """
    calls = _calls_of(fresh), _calls_of(cached)
    if any(calls):
        return calls[0] == calls[1], "structured"
    texts = text_of(fresh), text_of(cached)
    if not all(text.strip() for text in texts):
        return None, "exact"
    if _normalised(texts[0]) == _normalised(texts[1]):
        return True, "exact"
    documents = _document(texts[0]), _document(texts[1])
    if all(document is not None for document in documents):
        return documents[0] == documents[1], "structured"
    by_numbers = _agree_as_numbers(*texts)
    if by_numbers is not None:
        return by_numbers, "numeric"
    return _agree_as_vectors(texts, vectors, least_cosine), "embedding"


def text_of(answer: Answer) -> str:
    """What an answer says to a person: the texts of all choices, refusals included."""
    return "\n\n".join(_text_of_choice(choice) for choice in answer.get("choices") or ())


def _text_of_choice(choice: Mapping[str, Any]) -> str:
    message = choice.get("message") or {}
    said = choice.get("text") or message.get("content") or message.get("refusal") or ""
    if isinstance(said, list):
        said = "".join(str(part.get("text") or "") for part in said if isinstance(part, Mapping))
    return str(said)


def _calls_of(answer: Answer) -> list[tuple[str, Any]]:
    """Names and arguments of all tool calls in order; ids are chance."""
    messages = [choice.get("message") or {} for choice in answer.get("choices") or ()]
    functions = [call.get("function") or {} for message in messages for call in message.get("tool_calls") or ()]
    functions += [message["function_call"] for message in messages if message.get("function_call")]
    return [(str(each.get("name")), _arguments(str(each.get("arguments") or ""))) for each in functions]


def _arguments(text: str) -> Any:
    found = _document(text)
    return text.strip() if found is None else found


def _document(text: str) -> Any:
    """A JSON object or list in a form that compares; none for any other text."""
    fenced = _FENCE.match(text.strip())
    try:
        found = orjson.loads(fenced.group(1) if fenced else text)
    except ValueError:
        return None
    return _canonical(found) if isinstance(found, dict | list) else None


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canonical(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    if isinstance(value, bool) or value is None:
        return str(value)  # true is not 1
    return _normalised(value) if isinstance(value, str) else value


def _normalised(text: str) -> str:
    """Without what is only typing: case, white space, width of characters, marks at the end."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .!")


def _agree_as_numbers(fresh: str, cached: str) -> bool | None:
    """A verdict on short or mostly numeric answers; none for others, or where words decide."""
    numbers = _numbers(fresh), _numbers(cached)
    words = _words(fresh), _words(cached)
    if not all(numbers):
        return None
    short = max(map(len, words)) <= _SHORT_WORDS
    numeric = all(counted.total() * 2 >= len(named) for counted, named in zip(numbers, words, strict=True))
    if not short and not numeric:
        return None
    if numbers[0] != numbers[1] or _negates(words[0]) != _negates(words[1]):
        return False
    return True if numeric or Counter(words[0]) == Counter(words[1]) else None


def _agree_as_vectors(texts: tuple[str, str], vectors: Vectors | None, least_cosine: float) -> bool | None:
    words = _words(texts[0]), _words(texts[1])
    if _numbers(texts[0]) != _numbers(texts[1]) or _negates(words[0]) != _negates(words[1]):
        return False
    if vectors is None:
        return None
    return float(vectors[0] @ vectors[1]) >= least_cosine


def _numbers(text: str) -> Counter[str]:
    """Every number in one spelling, list marks left out; dates and times as they stand."""
    return Counter(_spelling(found) for found in _NUMBER.findall(_LIST_MARK.sub("", text)))


def _spelling(number: str) -> str:
    plain = number.replace("−", "-")
    try:
        value = Decimal(plain.replace(",", "") if _THOUSANDS.fullmatch(plain) else plain)
    except InvalidOperation:
        return plain
    return format(value.normalize(), "f")


def _words(text: str) -> list[str]:
    """Words without numbers, in lower case."""
    return [word for word in _WORD.findall(_normalised(text)) if not word[0].isdigit()]


def _negates(words: list[str]) -> bool:
    return any(word in _NEGATIONS or word.endswith(("n't", "n\u2019t")) for word in words)

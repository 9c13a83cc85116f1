"""Which words of a text have a counterpart in another: same stem, same meaning in the tables, or a slip of the pen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from backend.cache.semantic.gate_lexicon import Lexicon, fold, lemmas, lexicon, load

_ENGLISH_ENDINGS = (
    "ations", "ation", "ments", "ment", "ingly", "ings", "ing", "edly",
    "ions", "ion", "ers", "ed", "er", "es", "ly", "s",
)  # fmt: skip
_NEGATING = {
    "en": ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti", "re"),
    "es": ("in", "im", "des", "anti"),
    "pt": ("in", "im", "des", "anti"),
    "fr": ("in", "im", "ir", "dé", "de", "dés", "des", "mal", "anti"),
    "de": ("un", "ent", "miss", "anti", "nicht"),
}


@lru_cache(maxsize=65_536)
def stem(word: str, language: str) -> str:
    """What inflected forms of a word share; rough, and only ever compared with another stem."""
    word = fold(word)
    if language != "en":
        return word[: max(4, min(7, len(word) - 2))] if len(word) > 5 else word.rstrip("aeos")
    for ending in _ENGLISH_ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] != "s":
        word = word[:-1]
    return (
        word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word.removesuffix("e") if len(word) > 3 else word
    )


@lru_cache(maxsize=65_536)
def concepts(word: str, language: str) -> frozenset[int]:
    """The groups of synonyms that a word is in."""
    exact, beginnings = _synonyms(language)
    found = set(exact.get(word, ())) | set(exact.get(fold(word), ()))
    found |= {group for start, group in beginnings if word.startswith(start)}
    if not found and language == "en":
        found = next((set(exact[lemma]) for lemma in lemmas(word) if lemma in exact), set())
    return frozenset(found)


@lru_cache
def _synonyms(language: str) -> tuple[dict[str, list[int]], list[tuple[str, int]]]:
    exact: dict[str, list[int]] = {}
    beginnings: list[tuple[str, int]] = []
    for group, words in enumerate(load(language)["synonyms"]):
        for word in words.split():
            if word.endswith("*"):
                beginnings.append((word[:-1], group))
            else:
                exact.setdefault(word, []).append(group)
    return exact, beginnings


@lru_cache(maxsize=262_144)
def corresponds(one: str, other: str, language: str, *, synonyms: bool = True) -> bool:
    """Whether two words may stand for each other."""
    if stem(one, language) == stem(other, language):
        return True
    if synonyms and concepts(one, language) & concepts(other, language):
        return True
    return is_slip(fold(one), fold(other), lexicon(language))


def is_slip(one: str, other: str, words: Lexicon) -> bool:
    """Whether one is a mistyped other: a letter or two apart, and not both are words of their own."""
    longest = max(len(one), len(other))
    if longest < 4 or abs(len(one) - len(other)) > 2 or (words.knows(one) and words.knows(other)):
        return False
    return distance(one, other, most=1 if longest < 8 else 2) is not None


def distance(one: str, other: str, most: int) -> int | None:
    """Letters inserted, dropped, replaced or swapped to come from one word to the other; None above ``most``."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for line, letter in enumerate(one, 1):
        older, before, row = before, row, [line]
        for column, match in enumerate(other, 1):
            cost = min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != match))
            if line > 1 and column > 1 and letter == other[column - 2] and one[line - 2] == match:
                cost = min(cost, older[column - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return None
    return row[-1] if row[-1] <= most else None


def unmatched(
    one: Sequence[str], other: Sequence[str], language: str, *, synonyms: bool = True
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of each that have no counterpart in the other."""
    if one == other:
        return (), ()

    def find(words: Sequence[str], matches: Sequence[str]) -> tuple[str, ...]:
        known = {*matches}
        return tuple(
            word
            for word in words
            if word not in known and not any(corresponds(word, match, language, synonyms=synonyms) for match in matches)
        )

    return find(one, other), find(other, one)


def negates(one: str, other: str, language: str) -> bool:
    """Whether one is the other with a prefix that turns it round: refundable, non-refundable."""
    short, long = sorted((fold(one), fold(other)), key=len)
    return len(short) >= 3 and any(long == prefix + short for prefix in _NEGATING[language])

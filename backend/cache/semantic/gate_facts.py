"""What a text states that another must state too: extracted once, compared many times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from backend.cache.semantic.gate_content import concepts
from backend.cache.semantic.gate_lexicon import Lexicon, entity_names, fold, lexicon
from backend.cache.semantic.gate_numbers import read_numbers
from backend.cache.semantic.gate_text import LITERAL, Word, mark_wrapping, split
from backend.cache.semantic.gate_times import read_times

ORDERED = (
    *sorted(LITERAL),
    "number",
    "ordinal",
    "quantity",
    "unit",
    "symbol",
    "clock",
    "days",
    "months",
    "years",
    "weekdays",
    "times",
)
"""Kinds of which both texts must state the same, in the same order."""

_GERMAN_PLACES = frozenset({"nach", "von", "aus", "in", "bei"})
_GRAMMAR = frozenset({"negations", "scope", "possessive", "person", "questions", "tenses"})


@dataclass(slots=True, frozen=True)
class Facts:
    """The statements of one text. Values keep the order of the text."""

    language: str
    said: dict[str, tuple[str, ...]]
    """By kind: literal pieces, numbers, times, negations, scope, people, questions."""
    axes: dict[str, tuple[str, ...]]
    """By set of words that exclude each other: those that are mentioned."""
    named: frozenset[str]
    """Names, acronyms and well-known entities."""
    roles: dict[str, str]
    """By word: where it comes from, goes to, or what it is measured against."""
    words: tuple[str, ...]
    """Every word that is not wrapping, one spelling for each name."""
    content: tuple[str, ...]
    """The words that carry meaning."""


@lru_cache(maxsize=16_384)
def read_facts(text: str, language: str) -> Facts:
    """The facts of a text in one of the languages with full tables."""
    table = lexicon(language)
    words = split(text, table)
    wrapping = mark_wrapping(words, table)
    words = read_numbers(words, table)
    times, taken = read_times(words, table)
    said: dict[str, list[str]] = {}
    for mark in times:
        said.setdefault(mark.kind, []).append(mark.value)
    if "manner" in wrapping:
        said["questions"] = ["manner"]
    if "affirmed" in wrapping:
        said["negations"] = ["affirmed"]
    left = [word for place, word in enumerate(words) if place not in taken and word.kind != "pause"]
    for word in left:
        word.name = _spell(word, table)
    axes = _read_words([word for word in left if not word.wrapping], said, table)
    return _assemble(left, table, said, axes)


def _read_words(words: list[Word], said: dict[str, list[str]], table: Lexicon) -> dict[str, list[str]]:
    """Add what single words say; words of sets that exclude each other are returned."""
    axes: dict[str, list[str]] = {}
    for word in words:
        if word.kind in ORDERED:
            said.setdefault(word.kind, []).append(word.key)
            continue
        if word.key in table.units and word.kind in {"word", "symbol"}:
            said.setdefault("unit", []).append(table.units[word.key])
        for mark in table.marks(word.key):
            if mark.kind.startswith("axis"):
                axes.setdefault(mark.kind, []).append(mark.value)
            elif mark.kind in _GRAMMAR:
                said.setdefault(mark.kind, []).append(mark.value)
    return axes


def _assemble(left: list[Word], table: Lexicon, said: dict[str, list[str]], axes: dict[str, list[str]]) -> Facts:
    plain = [word for word in left if not word.wrapping]
    return Facts(
        language=table.language,
        said={kind: tuple(values) for kind, values in said.items()},
        axes={axis: tuple(poles) for axis, poles in axes.items()},
        named=frozenset(_find_names(plain, table)),
        roles=_read_roles(plain, table),
        words=tuple(word.name for word in plain),
        content=tuple(fold(word.key) for word in plain if _is_content(word, table)),
    )


def _spell(word: Word, table: Lexicon) -> str:
    """One spelling for each name or entity; other words without case and accents."""
    if word.kind != "word":
        return word.key
    also = entity_names().get(word.key)
    if also and (word.capital or word.key not in table.stop):
        return also
    return next((mark.value for mark in table.marks(word.key) if mark.kind == "entity"), fold(word.key))


def _find_names(words: list[Word], table: Lexicon) -> list[str]:
    found = []
    for place, word in enumerate(words):
        if word.kind != "word":
            continue
        entity = any(mark.kind == "entity" for mark in table.marks(word.key)) or word.key in table.titles
        if entity or (
            word.capital
            and not _is_term(word, table)
            and (table.language != "de" or _is_german_name(words, place, table))
        ):
            found.append(word.name)
    return found


def _is_term(word: Word, table: Lexicon) -> bool:
    """Whether an acronym stands for a common word: ETA, PIN."""
    return word.raw.isupper() and len(word.raw) > 2 and bool(concepts(word.key, table.language))


def _is_german_name(words: list[Word], place: int, table: Lexicon) -> bool:
    """German writes every noun with a capital: a name follows a title, a name, or "nach" without an article."""
    rest = words[place].raw[1:]
    before = words[place - 1] if place else Word("")
    beside = before.capital or (place + 1 < len(words) and words[place + 1].capital)
    return rest != rest.lower() or before.key in table.titles or before.key in _GERMAN_PLACES or beside


def _read_roles(words: list[Word], table: Lexicon) -> dict[str, str]:
    roles: dict[str, str] = {}
    role = None
    for word in words:
        if word.kind == "word" and word.key in table.roles:
            role = table.roles[word.key]
        elif role and word.key not in table.stop:
            roles[word.name] = role
            role = None
    return roles


def _is_content(word: Word, table: Lexicon) -> bool:
    if word.kind != "word" or word.key in table.stop or word.key in table.titles or word.key in table.units:
        return False
    return not any(mark.kind in _GRAMMAR for mark in table.marks(word.key))

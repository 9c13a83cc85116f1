"""What the gate knows of each language: its word tables, looked up by spelling, without accents, by lemma."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

LANGUAGES = ("en", "es", "pt", "fr", "de")
"""With full tables; any other language is held to the stricter rule."""


class Mark(NamedTuple):
    """One thing that a word says, such as ("negations", "never") or ("axis 4", "open")."""

    kind: str
    value: str


@cache
def load(name: str) -> dict[str, Any]:
    """One table of the package, by the last part of its file name."""
    return dict(json.loads(files(__package__).joinpath(f"gate_{name}.json").read_text("utf-8")))


@lru_cache(maxsize=65_536)
def fold(word: str) -> str:
    """The word without case and accents."""
    if word.isascii():
        return word.lower()
    spread = unicodedata.normalize("NFD", word.lower().replace("ß", "ss"))
    return "".join(letter for letter in spread if not unicodedata.combining(letter))


def lemmas(word: str) -> Iterator[str]:
    """English spellings that the word may be an inflection of, the likeliest first."""
    for ending, replacements in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            trunk = word[: -len(ending)]
            for replacement in replacements:
                yield trunk + replacement
            if len(trunk) > 3 and trunk[-1] == trunk[-2] and ending in {"ing", "ed", "er"}:
                yield trunk[:-1]


_ENDINGS = (
    ("ies", ("y",)),
    ("ied", ("y",)),
    ("es", ("", "e")),
    ("s", ("",)),
    ("ing", ("", "e")),
    ("ed", ("", "e")),
    ("d", ("",)),
    ("ation", ("ate", "e", "")),
    ("ion", ("", "e")),
)


class Lexicon:
    """The tables of one language, ready to be asked about single words."""

    def __init__(self, language: str) -> None:
        table = load(language)
        self.language = language
        self.stop = frozenset(table["stop"].split())
        self.contractions: dict[str, list[str]] = {k: v.split() for k, v in table["contractions"].items()}
        self.endings: list[tuple[str, str]] = list(table["endings"].items())
        self.clitics: list[str] = table["clitics"]
        self.phrases = _by_first_word(table["phrases"])
        self.request = _compile_request(table)
        self.numbers: dict[str, int] = table["numbers"]
        self.scales: dict[str, int] = table["scales"]
        self.ordinals: dict[str, int] = table["ordinals"]
        self.number_links = frozenset(table["number_links"].split())
        self.not_numbers = {word: frozenset(before.split()) for word, before in table["not_numbers"].items()}
        self.titles = frozenset(table["titles"].split())
        self.roles = {word: role for role, words in table["roles"].items() for word in words.split()}
        self.units = _read_units(language)
        self._exact: dict[str, list[Mark]] = {}
        self._beginnings: dict[str, list[tuple[str, Mark]]] = {}
        for mark, word in _read_marks(table):
            self._enter(word, mark)
        self._folded = self._fold_all()
        self.marks = lru_cache(maxsize=65_536)(self._find_marks)

    def _enter(self, word: str, mark: Mark) -> None:
        if word.endswith("*"):
            self._beginnings.setdefault(word[:2], []).append((word[:-1], mark))
        else:
            self._exact.setdefault(word, []).append(mark)

    def _fold_all(self) -> dict[str, list[Mark]]:
        """Spellings without accents, save those that are another word of the language (où, ou)."""
        found = {fold(word): marks for word, marks in self._exact.items() if not word.isascii()}
        return {word: marks for word, marks in found.items() if word not in self.stop and word not in self._exact}

    def _find_marks(self, word: str) -> tuple[Mark, ...]:
        found = [*self._exact.get(word, ()), *self._folded.get(word, ())]
        found += [mark for start, mark in self._beginnings.get(word[:2], ()) if word.startswith(start)]
        if self.language == "en" and word not in self.stop:
            inflected = next((self._exact[lemma] for lemma in lemmas(word) if lemma in self._exact), [])
            found += [mark for mark in inflected if not found or mark.kind.startswith("axis")]
        return tuple(dict.fromkeys(found))

    def knows(self, word: str) -> bool:
        """Whether any table of the language has the word."""
        frequent = self.language == "en" and word in ranks()
        return frequent or word in self.stop or word in self.numbers or bool(self.marks(word))


@cache
def lexicon(language: str) -> Lexicon:
    """The tables of one of ``LANGUAGES``, read once."""
    return Lexicon(language)


def _by_first_word(phrases: dict[str, str]) -> dict[str, list[tuple[list[str], list[str]]]]:
    found: dict[str, list[tuple[list[str], list[str]]]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        words = phrase.split()
        found.setdefault(words[0], []).append((words[1:], phrases[phrase].split()))
    return found


_BEFORE = re.compile(r" \(\?=([^()]*)\)$")


def _compile_request(table: dict[str, Any]) -> re.Pattern[str]:
    """What only wraps a question: how it is asked for (manner), what the asker knows (affirmed), politeness (shell)."""
    groups = {"affirmed": table["affirmed"], "manner": table["manner"], "shell": table["shells"]}
    joined = {
        name: "|".join(_BEFORE.sub(r"(?= (?:\1))", pattern) for pattern in found) for name, found in groups.items()
    }
    named = [f"(?P<{name}>{patterns})" for name, patterns in joined.items()]
    return re.compile(rf"(?<!\S)(?:{'|'.join(named)})(?= |$)")


def _read_marks(table: dict[str, Any]) -> Iterator[tuple[Mark, str]]:
    groups = {kind: table[kind] for kind in ("negations", "scope", "questions", "tenses", "times")} | table["people"]
    groups |= {kind: {str(n): words for n, words in enumerate(table[kind], 1)} for kind in ("months", "weekdays")}
    for number, axis in enumerate(table["axes"]):
        groups[f"axis {number}"] = {words.split()[0]: words for words in axis.split("|")}
    for kind, values in groups.items():
        for value, words in values.items():
            yield from ((Mark(kind, value), word) for word in words.split())
    yield from ((Mark("entity", word), word) for word in load("shared")["entities"].split())


def _read_units(language: str) -> dict[str, str]:
    shared = load("shared")
    kept_out = set(shared["not_units_in"].get(language, "").split())
    return {word: unit for unit, words in shared["units"].items() for word in words.split() if word not in kept_out}


@cache
def ranks() -> dict[str, int]:
    """Frequent English words by how frequent they are, from 0."""
    return {word: rank for rank, word in enumerate(load("frequent")["en"].split())}


@cache
def short_units() -> dict[str, str]:
    """Abbreviations that are units only right behind a number."""
    return dict(load("shared")["short_units"])


@cache
def entity_names() -> dict[str, str]:
    """Other spellings of an entity, as they must be written (US, not us)."""
    names: dict[str, str] = load("shared")["entity_names"]
    return {word: entity for entity, words in names.items() for word in words.split()}

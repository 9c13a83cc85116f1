"""The words of two questions side by side: which have no counterpart, how rare those are, how they are ordered."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.gate import language_of
from backend.cache.semantic.gate_content import stem, unmatched
from backend.cache.semantic.gate_facts import read_facts
from backend.cache.semantic.gate_lexicon import LANGUAGES, fold, lexicon, ranks

_PLAIN = re.compile(r"\w+")
_FUNCTION_RARITY, _NUMBER_WEIGHT, _KNOWN_RARITY, _UNKNOWN_RARITY = 0.05, 0.2, 0.7, 1.2


@dataclass(slots=True, frozen=True)
class Comparison:
    """What the words of two texts have and lack of each other; rarity from 0.05 (function words) to 1.2 (unknown)."""

    language: str
    alone: tuple[frozenset[str], frozenset[str]]
    """The words without a counterpart, of each text."""
    content: tuple[frozenset[str], frozenset[str]]
    """The words that carry meaning, of each text."""
    same: bool
    """Whether every word that carries meaning has a counterpart; where none does, whether all words are the same."""
    unmatched_share: float
    """The rarity of words without a counterpart over that of all words."""
    substituted: float
    """Rarity that stands on both sides: one thing in place of another."""
    dropped: float
    """Rarity that stands on one side only: something added or left out."""
    reordered: bool
    function_words: float
    """Share of function words that only one of the texts has."""
    length: float
    """Absolute log ratio of the numbers of words."""

    def weigh(self, pieces: tuple[str, ...], side: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The rarity of the word that each piece belongs to, and whether that word has no counterpart."""
        weights, lonely = list[float](), list[bool]()
        for first, last, word in _join_pieces(pieces):
            weight = rarity(word, self.language) if word in self.content[side] else _weight_beside(word)
            weights += [weight] * (last - first)
            lonely += [word in self.alone[side]] * (last - first)
        return np.array(weights, dtype=np.float64), np.array(lonely, dtype=np.bool_)


def _weight_beside(word: str) -> float:
    """What a piece counts that is no content word: numbers are the gate's matter, the rest wraps the question."""
    return _NUMBER_WEIGHT if word[:1].isdigit() else _FUNCTION_RARITY


@lru_cache(maxsize=65_536)
def rarity(word: str, language: str) -> float:
    """How rare a word is: by its rank among frequent English words, else by whether the language's tables have it."""
    if language not in LANGUAGES:
        return _KNOWN_RARITY
    table = lexicon(language)
    if word in table.stop or not word[:1].isalnum():
        return _FUNCTION_RARITY
    rank = ranks().get(word) if language == "en" else None
    if rank is not None:
        return math.log(2 + rank) / math.log(8_000)
    return _KNOWN_RARITY if table.knows(word) else _UNKNOWN_RARITY


@lru_cache(maxsize=4_096)
def compare_words(asked: str, stored: str, *, synonyms: bool = True) -> Comparison:
    """Both texts word by word, in the language that they share."""
    language = language_of(asked, stored) or "other"
    texts = [_read(text, language) for text in (asked, stored)]
    (one, functions), (other, others) = texts
    tables = language in LANGUAGES
    alone = unmatched(one, other, language, synonyms=synonyms) if tables else _without_tables(one, other)
    rare = [sum(rarity(word, language) for word in words) for words in alone]
    whole = sum(rarity(word, language) for word in (*one, *other)) or 1.0
    stems = [[stem(word, language) for word in words] for words in (one, other)]
    differing = sum(((functions - others) + (others - functions)).values())
    return Comparison(
        language=language,
        alone=(frozenset(alone[0]), frozenset(alone[1])),
        content=(frozenset(one), frozenset(other)),
        same=not any(alone) and (bool(one) or functions == others),
        unmatched_share=sum(rare) / whole,
        substituted=min(rare),
        dropped=abs(rare[0] - rare[1]),
        reordered=_is_reordered(*stems),
        function_words=differing / (functions.total() + others.total() or 1),
        length=abs(math.log((1 + len(one)) / (1 + len(other)))),
    )


def _read(text: str, language: str) -> tuple[tuple[str, ...], Counter[str]]:
    """Content words, and function words that do not just wrap the question."""
    if language not in LANGUAGES:
        return tuple(fold(word) for word in _PLAIN.findall(text)), Counter()
    facts = read_facts(text, language)
    content = set(facts.content)
    return facts.content, Counter(word for word in facts.words if word not in content)


def _without_tables(one: Sequence[str], other: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(word for word in one if word not in other), tuple(word for word in other if word not in one)


def _is_reordered(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether words that both have come in another order."""
    common = {*one} & {*other}
    return [word for word in one if word in common] != [word for word in other if word in common]


@lru_cache(maxsize=4_096)
def _join_pieces(pieces: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """Whole words with their first piece and the one behind their last."""
    first, words = 0, []
    for place in range(1, len(pieces) + 1):
        if place == len(pieces) or not pieces[place].startswith("##"):
            word = "".join(piece.removeprefix("##") for piece in pieces[first:place])
            words.append((first, place, word.strip("▁Ġ").lower()))
            first = place
    return words

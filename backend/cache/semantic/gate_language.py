"""Which language a text is in, from its script and its function words."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from backend.cache.semantic.gate_lexicon import LANGUAGES, fold, lexicon, load, ranks

_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = (
    ("cyrillic", re.compile("[\u0400-\u04ff]")),
    ("greek", re.compile("[\u0370-\u03ff]")),
    ("hebrew", re.compile("[\u0590-\u05ff]")),
    ("arabic", re.compile("[\u0600-\u06ff]")),
    ("indic", re.compile("[\u0900-\u0dff]")),
    ("thai", re.compile("[\u0e00-\u0e7f]")),
    ("kana", re.compile("[\u3040-\u30ff]")),
    ("hangul", re.compile("[\uac00-\ud7af]")),
    ("han", re.compile("[\u3400-\u9fff]")),
)
_FUNCTION_WORD, _TABLE_WORD, _LETTER, _SHAPE = 6, 2, 4, 1
_LETTERS = {"ñ": "es", "¿": "es", "¡": "es", "ã": "pt", "õ": "pt", "ß": "de", "ä": "de", "œ": "fr", "ù": "fr"}


@lru_cache(maxsize=16_384)
def detect(text: str) -> tuple[str, ...]:
    """The likeliest language: one of ``LANGUAGES``, a script, another code; all that tie, none without a clue."""
    if not text.isascii():
        script = _find_script(text)
        if script:
            return (script,)
    words = [word.lower() for word in _WORD.findall(text)]
    scores = _score(words)
    for letter in text.lower():
        if letter in _LETTERS:
            scores[_LETTERS[letter]] = scores.get(_LETTERS[letter], 0) + _LETTER
    best = max(scores.values(), default=0)
    return tuple(language for language, score in scores.items() if score == best) if best > _SHAPE else ()


def _find_script(text: str) -> str | None:
    letters = sum(letter.isalpha() for letter in text)
    found = [(name, len(pattern.findall(text))) for name, pattern in _SCRIPTS]
    return next((name for name, count in found if count * 3 > letters), None)


def _score(words: list[str]) -> dict[str, int]:
    scores = dict.fromkeys((*LANGUAGES, *_other_words()), 0)
    for word in words:
        for language, score in _scores_of(word):
            scores[language] += score
    return scores


@lru_cache(maxsize=65_536)
def _scores_of(word: str) -> tuple[tuple[str, int], ...]:
    """What one word says for each language; languages without full tables need more of it."""
    found = [(name, _FUNCTION_WORD) for name in LANGUAGES if word in lexicon(name).stop]
    found += [(name, _TABLE_WORD) for name in LANGUAGES if word in _vocabulary(name)]
    if len(word) > 3:
        found += [(name, _SHAPE) for name in LANGUAGES if _shapes(name).search(word)]
    if word in ranks() and len(word) > 2 and not any(word in others for others in _other_words().values()):
        found.append(("en", _TABLE_WORD))
    found += [(name, _FUNCTION_WORD) for name, others in _other_words().items() if word in others]
    return tuple(found)


@cache
def _vocabulary(language: str) -> frozenset[str]:
    """Content words of the tables that tell the language from the others."""
    table = load(language)
    entries = [*table["axes"], *table["synonyms"], *table["months"], *table["weekdays"], *table["scope"].values()]
    words = {word for entry in entries for word in re.split(r"[\s|]+", entry)}
    words |= {*table["numbers"], *table["contractions"]}
    return frozenset({word.rstrip("*") for word in words} | {fold(word) for word in words if "*" not in word})


@cache
def _shapes(language: str) -> re.Pattern[str]:
    """Letters that words of the language often have or end with; only enough to break a tie."""
    return re.compile("|".join(load(language)["shapes"].split()))


@cache
def _other_words() -> dict[str, frozenset[str]]:
    table: dict[str, str] = load("shared")["other_languages"]
    return {name: frozenset(words.split()) for name, words in table.items()}

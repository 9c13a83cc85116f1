"""A text as the gate reads it: words with their spelling, and the things that must be taken literally."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from backend.cache.semantic.gate_lexicon import Lexicon

LITERAL = frozenset({"placeholder", "code", "quote", "url", "email", "path", "flag", "identifier"})
"""Kinds of pieces that are compared as they are written."""

_EXTENSIONS = (
    "py|js|ts|tsx|jsx|json|ya?ml|toml|md|txt|csv|tsv|pdf|docx?|xlsx?|pptx?|png|jpe?g|gif|svg|mp[34]|wav|mov|avi|zip|tar|gz|"
    "rar|exe|dll|html?|css|xml|sql|sh|bat|ps1|rb|rs|java|kt|cpp|hpp|cs|php|ini|cfg|conf|log|lock|env|ipynb|parquet|"
    "com|org|net|io|ai|dev|app|edu|gov"
)
_PIECES = re.compile(
    r"""
    (?P<plain>[A-Za-z]+(?=[ ,?!]|$|\.(?:\s|$)))
  | (?P<placeholder>\{\{.*?\}\}|\$\{[^}]*\}|\{\w+\}|<[A-Za-z_/][^<>\s]*>|\[[A-Z][A-Z_ ]+\])
  | (?P<code>```.*?```|`[^`]+`)
  | (?P<quote>"[^"]+"|“[^”]+”|«[^»]+»|„[^“”"]+[“”"]|\u2018[^’]+’|(?<!\w)'[^'\n]+'(?!\w))
  | (?P<url>(?:https?|ftp|wss?)://\S*[\w/=&-]|www\.\S*[\w/])
  | (?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
  | (?P<path>(?:[A-Za-z]:\\|~/|\.{1,2}/|(?<![\w/])/)[\w.\-\\]+(?:[/\\][\w.\-\\]*)*
      |\w+(?:/[\w.-]+)+\.\w+|[\w-]+(?:\.[\w-]+)*\.(?:EXT)\b)
  | (?P<flag>(?<!\S)--?[A-Za-z][\w-]*)
  | (?P<date>\d{4}-\d{1,2}-\d{1,2}(?:T[\d:]+Z?)?\b|\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b)
  | (?P<time>\b\d{1,2}(?:[:.]\d{2})?(?::\d{2})?\s?(?i:[ap]\.m\.|[ap]m\b)|\b\d{1,2}:\d{2}(?::\d{2})?\b|\b\d{1,2}h\d{2}\b)
  | (?P<identifier>[^\W\d]\w*_\w+|\b\w+(?:\.\w+)*\(\)|\b[^\W\d]\w*::\w+|\b\d+(?:\.\d+){2,}\b)
  | (?P<mixed>\b(?=[\w-]*\d)(?=[\w-]*[^\W\d_])\w+(?:-\w+)*)
  | (?P<number>(?:(?<![\w)\]])[-−])?\d+(?:[.,'’\u00a0\u202f]\d+)*)
  | (?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*(?:-[^\W\d_]+(?:['’][^\W\d_]+)?)*\+*\#?)
  | (?P<pause>[.!?;:\n\r¿¡…\u3002\uff1f\uff01]+)
  | (?P<symbol>[<>=!]=+|[=\-]>|[<>=+^|~\\%$€£¥₹°¢]|[-−](?=\d)|(?<=\s)[-*/](?=\s))
    """.replace("EXT", _EXTENSIONS),
    re.VERBOSE | re.DOTALL,
)
_QUOTES = "\"“”«»„\u2018’' "


@dataclass(slots=True)
class Word:
    """A piece of the text. ``key`` is what it is looked up by, ``raw`` what was written."""

    key: str
    raw: str = ""
    kind: str = "word"
    capital: bool = False
    """Written with a capital where the place in the sentence does not ask for one."""
    wrapping: bool = False
    """Only part of how the question is asked."""
    name: str = ""
    """One spelling for all that name the same; without case and accents for other words."""


def normalise(text: str) -> str:
    """One spelling of what only looks different: composed letters, one apostrophe, no invisible marks."""
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text)
    return composed.replace("\u200b", "").replace("\ufeff", "").replace("\u2011", "-").replace("\u2010", "-")


def split(text: str, lexicon: Lexicon) -> list[Word]:
    """The words and literal pieces of a text, contractions and phrases spelled out, in their order."""
    words: list[Word] = []
    start = True
    for match in _PIECES.finditer(normalise(text)):
        kind, raw = match.lastgroup or "", match.group()
        if kind in {"word", "plain"}:
            words += _split_word(raw, lexicon, start=start)
        elif kind == "pause":
            ends = not (words and words[-1].key in lexicon.titles and raw == ".")
            if ends:
                words.append(Word(".", raw, "pause"))
            start = ends
            continue
        else:
            words.append(Word(_key_of(kind, raw), raw, kind))
        start = False
    return _merge_phrases(_drop_empty_case(words), lexicon)


def _key_of(kind: str, raw: str) -> str:
    if kind == "quote":
        return raw.strip(_QUOTES)
    if kind == "mixed":
        return raw.replace("-", "").lower()
    return raw.lower() if kind == "email" else raw


def _split_word(raw: str, lexicon: Lexicon, *, start: bool) -> list[Word]:
    spelled = raw.replace("’", "'")
    key = spelled.lower()
    capital = _is_capital(spelled, start=start) and key not in lexicon.stop
    if key in lexicon.contractions:
        return [Word(part) for part in lexicon.contractions[key]]
    if "-" in key and not lexicon.marks(key) and key not in lexicon.numbers:
        parts = spelled.split("-")
        return [
            word
            for place, part in enumerate(parts)
            if part
            for word in _split_word(part, lexicon, start=start and not place)
        ]
    if "'" in key:
        return _split_apostrophe(spelled, lexicon, capital=capital)
    return [Word(key, spelled, "word", capital)]


def _split_apostrophe(spelled: str, lexicon: Lexicon, *, capital: bool) -> list[Word]:
    key = spelled.lower()
    for ending, words in lexicon.endings:
        if key.endswith(ending):
            return [Word(key[: -len(ending)], spelled, "word", capital), *[Word(word) for word in words.split()]]
    for clitic in lexicon.clitics:
        if key.endswith(clitic):
            return [Word(key[: -len(clitic)], spelled[: -len(clitic)], "word", capital)]
    if lexicon.marks(key):
        return [Word(key, spelled, "word", capital)]
    return [Word(part.lower(), part, "word", _is_capital(part, start=True)) for part in spelled.split("'") if part]


def _is_capital(spelled: str, *, start: bool) -> bool:
    """Whether the spelling marks a name: any capital but the one that begins a sentence."""
    rest = spelled[1:]
    return (spelled[0].isupper() and not start) or (rest != rest.lower()) or spelled[-1] in "+#"


def _drop_empty_case(words: list[Word]) -> list[Word]:
    """Capitals say nothing in a text that is all in capitals, or all in title case."""
    spelled = [word for word in words if word.kind == "word" and word.raw]
    titled = sum(word.raw[0].isupper() for word in spelled)
    if len(spelled) >= 4 and titled * 10 > len(spelled) * 7:
        for word in spelled:
            word.capital = False
    return words


def _merge_phrases(words: list[Word], lexicon: Lexicon) -> list[Word]:
    merged: list[Word] = []
    place = 0
    while place < len(words):
        length, spelled = _match_phrase(words, place, lexicon)
        merged += [Word(key) for key in spelled] if length else [words[place]]
        place += length or 1
    return merged


def _match_phrase(words: list[Word], place: int, lexicon: Lexicon) -> tuple[int, list[str]]:
    for rest, spelled in lexicon.phrases.get(words[place].key, ()):
        if [word.key for word in words[place + 1 : place + 1 + len(rest)]] == rest:
            return 1 + len(rest), spelled
    return 0, []


def mark_wrapping(words: list[Word], lexicon: Lexicon) -> set[str]:
    """Flag the words that only wrap the question; what the wrapping says is returned ("manner", "affirmed")."""
    spelled = [word.key if word.kind in {"word", "pause"} else "\x00" for word in words]
    starts, at = {}, 0
    for place, key in enumerate(spelled):
        starts[at] = place
        at += len(key) + 1
    said: set[str] = set()
    for match in lexicon.request.finditer(" ".join(spelled)):
        first = starts.get(match.start())
        if first is None or not match.group():
            continue
        said.add(match.lastgroup or "")
        for word in words[first : first + len(match.group().split())]:
            word.wrapping = True
    return said - {"shell"}

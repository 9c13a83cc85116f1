"""Dates and times as values: clock times, calendar dates, weekdays, and words such as tomorrow."""

from __future__ import annotations

import re

from backend.cache.semantic.gate_lexicon import Lexicon, Mark
from backend.cache.semantic.gate_text import Word

_CLOCK = re.compile(r"(\d{1,2})(?:[:.h](\d{2}))?(?::\d{2})?\s?([ap])?", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_AMBIGUOUS = frozenset(
    {"may", "march", "mar", "sun", "sat", "wed", "mon", "dec", "jan", "second", "mars", "sept", "set"}
)
_OCLOCK = frozenset({"uhr", "o'clock", "oclock", "horas"})


def read_times(words: list[Word], lexicon: Lexicon) -> tuple[list[Mark], set[int]]:
    """Every date and time as (sort, value) in the order of the text, and the places of the words that state them."""
    marks: list[Mark] = []
    taken: set[int] = set()
    for place, word in enumerate(words):
        found = _read(words, place, lexicon)
        if not found or place in taken:
            continue
        marks += found
        taken.add(place)
        if found[0].kind == "months" and word.kind == "word":
            marks += _read_day(words, place, taken)
    return marks, taken


def _read(words: list[Word], place: int, lexicon: Lexicon) -> list[Mark]:
    word = words[place]
    if word.kind == "time":
        return [Mark("clock", _clock(word.raw))]
    if word.kind == "date":
        return _read_date(word.raw, lexicon.language)
    if word.kind == "number" and place + 1 < len(words) and words[place + 1].key in _OCLOCK and word.key.isdigit():
        return [Mark("clock", f"{int(word.key):02d}:00")]
    if word.kind != "word" or word.wrapping:
        return []
    found = [mark for mark in lexicon.marks(word.key) if mark.kind in {"months", "weekdays", "times"}]
    if word.key in _AMBIGUOUS and not word.capital and not _beside_number(words, place):
        return []
    return [Mark("clock", mark.value) if ":" in mark.value else mark for mark in found[:1]]


def _beside_number(words: list[Word], place: int) -> bool:
    beside = words[max(0, place - 2) : place] + words[place + 1 : place + 2]
    return any(word.kind in {"number", "ordinal"} for word in beside)


def _clock(raw: str) -> str:
    match = _CLOCK.match(raw)
    if match is None:
        return raw
    hour, minute, half = int(match[1]), match[2] or "00", (match[3] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"{hour:02d}:{minute}"


def _read_date(raw: str, language: str) -> list[Mark]:
    parts = [int(part) for part in _DIGITS.findall(raw)[:3]]
    if len(raw) >= 8 and raw[4] == "-":
        year, month, day = parts
    elif language == "en" and "/" in raw and parts[0] <= 12 and parts[1] <= 12:
        return [Mark("months", f"{parts[0]}/{parts[1]}"), Mark("years", str(_full(parts[2])))]
    else:
        first, second, year = parts
        day, month = (second, first) if second > 12 else (first, second)
    clock = [Mark("clock", raw[raw.index("T") + 1 :])] if "T" in raw else []
    return [Mark("months", str(month)), Mark("days", str(day)), Mark("years", str(_full(year))), *clock]


def _full(year: int) -> int:
    return year + 2000 if year < 100 else year


def _read_day(words: list[Word], place: int, taken: set[int]) -> list[Mark]:
    """The day and the year written beside a month's name: 4 March 2024, March 4th, 4 de marzo de 2024."""
    marks: dict[str, Mark] = {}
    for near in (place - 1, place + 1, place - 2, place + 2, place + 3):
        mark = _calendar_number(words[near]) if 0 <= near < len(words) and near not in taken else None
        if mark is not None and mark.kind not in marks:
            marks[mark.kind] = mark
            taken.add(near)
    return list(marks.values())


def _calendar_number(word: Word) -> Mark | None:
    value = word.key.lstrip("#0")
    if word.kind not in {"number", "ordinal"} or not value.isdigit():
        return None
    return Mark("days" if int(value) <= 31 else "years", value)

"""Numbers as values: digits in each language's notation, number words, ordinals, and the unit that goes with them."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import cache

from backend.cache.semantic.gate_lexicon import Lexicon, short_units
from backend.cache.semantic.gate_text import Word

_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th|er|re|ère|ème|eme|º|ª|°)")
_MEASURED = re.compile(r"(\d+(?:[.,]\d+)?)-?([^\W\d_]+)")
_ENGLISH_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_OTHER_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_SPACES = re.compile("['’\u00a0\u202f]")
_CURRENCIES = frozenset("$€£¥₹")


def read_numbers(words: list[Word], lexicon: Lexicon) -> list[Word]:
    """The same words with numbers as values ("number", "ordinal") and numbers of something as one ("quantity")."""
    return _join_units(_read_values(_split_mixed(words, lexicon), lexicon), lexicon)


def _split_mixed(words: list[Word], lexicon: Lexicon) -> list[Word]:
    """5km is a number and a unit, 3rd an ordinal; any other mix of letters and digits is an identifier."""
    spread: list[Word] = []
    for word in words:
        if word.kind != "mixed":
            spread.append(word)
            continue
        measured = _MEASURED.fullmatch(word.raw)
        if ordinal := _ORDINAL.fullmatch(word.raw.lower()):
            spread.append(Word(f"#{int(ordinal[1])}", word.raw, "ordinal"))
        elif measured and _unit_of(measured[2].lower(), lexicon, short=True):
            spread += [Word(measured[1], measured[1], "number"), Word(measured[2].lower(), measured[2])]
        else:
            spread.append(Word(word.key, word.raw, "identifier"))
    return spread


def _read_values(words: list[Word], lexicon: Lexicon) -> list[Word]:
    values: list[Word] = []
    place = 0
    while place < len(words):
        word = words[place]
        taken, value = 1, word
        if word.kind == "number":
            taken, value = _read_digits(words, place, lexicon)
        elif word.kind == "word" and not word.wrapping:
            taken, value = _read_words(words, place, lexicon)
        values.append(value)
        place += taken
    return values


def _read_digits(words: list[Word], place: int, lexicon: Lexicon) -> tuple[int, Word]:
    key = canonical(words[place].key, lexicon.language)
    scale = lexicon.scales.get(words[place + 1].key) if place + 1 < len(words) else None
    if scale is None:
        return 1, Word(key, words[place].raw, "number")
    return 2, Word(_trim(str(Decimal(key) * scale)), words[place].raw, "number")


def canonical(digits: str, language: str) -> str:
    """The value of written digits. Leading zeros and the digits of a fraction are kept: they name things."""
    sign = "-" if digits[0] in "-−" else ""
    plain = _SPACES.sub("", digits.lstrip("-−"))
    grouped = _ENGLISH_THOUSANDS if language == "en" else _OTHER_THOUSANDS
    group, point = (",", ".") if language == "en" else (".", ",")
    if grouped.fullmatch(plain):
        plain = plain.replace(group, "")
    elif plain.count(group) == 1 and point not in plain:
        point = group
    whole, _, fraction = plain.replace(point, ".").partition(".")
    return f"{sign}{whole}.{fraction}" if fraction.strip("0") or len(fraction) not in {0, 2} else sign + whole


def _read_words(words: list[Word], place: int, lexicon: Lexicon) -> tuple[int, Word]:
    word = words[place]
    if word.key in lexicon.ordinals:
        return 1, Word(f"#{lexicon.ordinals[word.key]}", word.raw, "ordinal")
    if _value_of(word.key, lexicon) is None or _is_pronoun(words, place, lexicon):
        return 1, word
    total = current = taken = 0
    while place + taken < len(words):
        key = words[place + taken].key
        link = key in lexicon.number_links and taken > 0
        if link:
            key = words[place + taken + 1].key if place + taken + 1 < len(words) else ""
        step = _add(total, current, key, lexicon, first=taken == 0)
        if step is None:
            break
        total, current = step
        taken += 2 if link else 1
    tens = words[place + taken].key if place + taken < len(words) else ""
    if tens in lexicon.ordinals and current >= 20 and current % 10 == 0 and lexicon.ordinals[tens] < 10:
        return taken + 1, Word(f"#{total + current + lexicon.ordinals[tens]}", word.raw, "ordinal")
    return taken, Word(str(total + current), word.raw, "number")


def _add(total: int, current: int, key: str, lexicon: Lexicon, *, first: bool) -> tuple[int, int] | None:
    """One more word of a number; None where it does not continue the number."""
    scale = lexicon.scales.get(key)
    if scale == 100:
        return (total, (current or 1) * 100) if current < 100 else None
    if scale:
        return (total + (current or 1) * scale, 0) if first or total == 0 or total % (scale * 1000) == 0 else None
    value = _value_of(key, lexicon)
    if value is None:
        return None
    if lexicon.language == "fr" and current % 100 == 4 and value == 20:
        return total, current + 76
    return (total, current + value) if first or _continues(total, current, value, lexicon.language) else None


def _continues(total: int, current: int, value: int, language: str) -> bool:
    if current == 0:
        return total > 0 and value < 1000
    tens = current % 100
    if tens == 0:
        return value < 100
    room = 20 if language == "fr" and tens in {60, 80} else 10
    return tens >= 20 and tens % 10 == 0 and value < room


def _value_of(key: str, lexicon: Lexicon) -> int | None:
    if lexicon.language == "de":
        return _german_numbers().get(key)
    return lexicon.numbers.get(key, lexicon.scales.get(key))


@cache
def _german_numbers() -> dict[str, int]:
    """German writes every number below a million in one word."""
    table = Lexicon("de").numbers
    ones = {value: word for word, value in table.items() if value < 20 and word != "dutzend"} | {1: "ein"}
    tens = {value: word for word, value in table.items() if value >= 20}
    found = dict(table)
    for value in range(21, 100):
        if value % 10:
            found[f"{ones[value % 10]}und{tens[value - value % 10]}"] = value
    below_hundred = dict(found)
    for hundreds in range(1, 10):
        for start in {f"{ones[hundreds]}hundert", "hundert" if hundreds == 1 else f"{ones[hundreds]}hundert"}:
            found[start] = hundreds * 100
            found |= {start + word: hundreds * 100 + value for word, value in below_hundred.items() if value}
    thousands = {f"{ones.get(n, '')}tausend": n * 1000 for n in range(1, 20)} | {"tausend": 1000}
    return found | thousands | {f"{start}{word}": n + v for start, n in thousands.items() for word, v in found.items()}


def _is_pronoun(words: list[Word], place: int, lexicon: Lexicon) -> bool:
    """Whether "one" stands for a thing instead of counting it: that one, one of them."""
    before = lexicon.not_numbers.get(words[place].key)
    if before is None:
        return False
    after = words[place + 1] if place + 1 < len(words) else None
    if place and words[place - 1].key in before:
        return True
    return after is None or (after.kind == "word" and after.key in lexicon.stop and after.key != "of")


def _join_units(words: list[Word], lexicon: Lexicon) -> list[Word]:
    joined: list[Word] = []
    skip = False
    for place, word in enumerate(words):
        if skip or (word.key in _CURRENCIES and _is_number(words, place + 1)):
            skip = False
            continue
        unit = _unit_at(words, place, lexicon) if word.kind == "number" else None
        if unit is None:
            joined.append(word)
            continue
        joined.append(Word(f"{_trim(word.key)} {unit}", word.raw, "quantity"))
        skip = place + 1 < len(words) and _unit_of(words[place + 1].key, lexicon, short=True) is not None
    return joined


def _is_number(words: list[Word], place: int) -> bool:
    return place < len(words) and words[place].kind == "number"


def _unit_at(words: list[Word], place: int, lexicon: Lexicon) -> str | None:
    """The currency before a number or the unit behind it."""
    if place and words[place - 1].key in _CURRENCIES:
        return lexicon.units[words[place - 1].key]
    after = words[place + 1] if place + 1 < len(words) else None
    return _unit_of(after.key, lexicon, short=True) if after and after.kind in {"word", "symbol"} else None


def _unit_of(key: str, lexicon: Lexicon, *, short: bool) -> str | None:
    return lexicon.units.get(key) or (short_units().get(key) if short and key not in lexicon.stop else None)


def _trim(value: str) -> str:
    """The value without zeros that change nothing, as behind a unit."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return value if value.lstrip("-").startswith("0") and "." not in value else f"{number.normalize():f}"

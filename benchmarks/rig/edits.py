"""Near misses: small edits of a question after which its answer no longer fits, by class.

What they are made of stands in near_misses.json, written apart from the gate's tables and with words that those lack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.rig.questions import Question

_LISTS = json.loads(Path(__file__).with_name("near_misses.json").read_text("utf-8"))
ENTITIES: dict[str, list[str]] = {kind: names.split("|") for kind, names in _LISTS["entities"].items()}
ANTONYMS: list[list[str]] = _LISTS["antonyms"]
OBJECTS: list[list[str]] = _LISTS["objects"]
VERBS: list[list[str]] = _LISTS["verbs"]
SWAPS: dict[str, list[list[str]]] = _LISTS["swaps"]
ENDINGS: dict[str, list[list[str]]] = _LISTS["endings"]
TRANSLATIONS: dict[str, list[str]] = _LISTS["translations"]

Edited = tuple[str, str] | None
"""The question (with something to edit put in where it had nothing) and its near miss; None where it does not apply."""


def edit_number(question: Question, random: Random) -> Edited:
    """Another digit in a number, or another number in words."""
    match = _pick(r"\d+", question.text, random)
    if match is None:
        count, other = random.sample(
            ["two", "three", "four", "five", "seven", "ten", "twelve", "6", "8", "15", "60"], 2
        )
        end = random.choice([" in {} installments", " for {} people", ", I have {} of them", " and {} others"])
        return question.text + end.format(count), question.text + end.format(other)
    digits = match.group()
    at = random.randrange(len(digits))
    changed = digits[:at] + random.choice([d for d in "0123456789" if d != digits[at]]) + digits[at + 1 :]
    return question.text, question.text[: match.start()] + changed + question.text[match.end() :]


def edit_entity(question: Question, random: Random) -> Edited:
    """Another name, place, brand, plan or food."""
    for kind in random.sample(sorted(ENTITIES), len(ENTITIES)):
        values = ENTITIES[kind]
        match = _pick(rf"\b(?:{'|'.join(map(re.escape, values))})\b", question.text, random)
        if match:
            return question.text, _replace(match, random.choice([v for v in values if v != match.group().lower()]))
    kind = random.choice(["person", "city", "plan", "shop"])
    one, other = random.sample(ENTITIES[kind], 2)
    case = random.choice([str.title, str.lower])
    link = {"person": "for", "city": "in", "plan": "on the", "shop": "at"}[kind]
    end = " plan" if kind == "plan" else ""
    return f"{question.text} {link} {case(one)}{end}", f"{question.text} {link} {case(other)}{end}"


def edit_negation(question: Question, random: Random) -> Edited:
    """One negation more."""
    places: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"\bi (?:want|need|have|would like)\b", lambda m: re.sub(r"(?i)^i ", "I do not ", m.group())),
        (r"\b(?:can|could|do|does|is|are|will|would|should|did|was) ", lambda m: f"{m.group()}not "),
        (r"\b(?:i|you|we|it) (?=\w)", lambda m: f"{m.group()}never "),
        (r"\bto (?=\w)", lambda _: random.choice(["not to ", "never to "])),
        (r"\bwith\b", lambda _: "without"),
    ]
    for pattern, edit in random.sample(places, len(places)):
        match = _pick(pattern, question.text, random)
        if match:
            return question.text, question.text[: match.start()] + edit(match) + question.text[match.end() :]
    return question.text, f"do not {question.text}"


def edit_antonym(question: Question, random: Random) -> Edited:
    """A word turned into its opposite."""
    for one, other in random.sample(ANTONYMS, len(ANTONYMS)):
        first, second = random.sample([one, other], 2)
        match = _pick(rf"\b{first}\b", question.text, random)
        if match:
            return question.text, _replace(match, second)
    return _with_ending(question, "antonym", random)


def edit_object(question: Question, random: Random) -> Edited:
    """The same done to another thing."""
    return _swap_word(question, OBJECTS, random)


def edit_verb(question: Question, random: Random) -> Edited:
    """Another thing done to the same."""
    return _swap_word(question, VERBS, random)


def _swap_word(question: Question, groups: list[list[str]], random: Random) -> Edited:
    for group in random.sample(groups, len(groups)):
        match = _pick(rf"\b(?:{'|'.join(group)})\b", question.text, random)
        if match:
            return question.text, _replace(match, random.choice([w for w in group if w != match.group().lower()]))
    return None


def edit_person(question: Question, random: Random) -> Edited:
    """Somebody else's."""
    for one, others in SWAPS["person"]:
        match = _pick(rf"\b{one}\b", question.text, random)
        if match:
            return question.text, _replace(match, random.choice(others.split()))
    return None


def edit_question(question: Question, random: Random) -> Edited:
    """Why, when, where or who instead of how, and so on."""
    for one, others in SWAPS["question"]:
        match = _pick(rf"\b{one}\b", question.text, random)
        if match:
            return question.text, _replace(match, random.choice(others.split("|")))
    return None


def edit_language(question: Question, random: Random) -> Edited:
    """The same in another language."""
    if question.intent in TRANSLATIONS:
        other = random.choice(TRANSLATIONS[question.intent])
        number = re.search(r"#?\d{3,}", question.text)
        return question.text, f"{other} {number.group()}" if number else other
    one, other = random.sample(["English", "Spanish", "French", "German", "Polish", "Hindi"], 2)
    end = random.choice([" in {}", ", answer in {}", " ({} please)"])
    return question.text + end.format(one), question.text + end.format(other)


def edit_order(question: Question, random: Random) -> Edited:
    """The same names the other way round."""
    one, other = random.sample(ENTITIES[random.choice(["city", "plan", "shop", "person"])], 2)
    case = random.choice([str.title, str.lower])
    end = random.choice(
        [
            " from {} to {}",
            ", moving from {} to {}",
            " with {} before {}",
            ", is {} better than {}",
            ", {} owes {} money",
        ]
    )
    return question.text + end.format(case(one), case(other)), question.text + end.format(case(other), case(one))


def _ending_of(name: str) -> Callable[[Question, Random], Edited]:
    def edit(question: Question, random: Random) -> Edited:
        for one, other in random.sample(SWAPS.get(name, []), len(SWAPS.get(name, []))):
            match = _pick(rf"\b{one}\b", question.text, random)
            if match:
                return question.text, _replace(match, random.choice(other.split("|")))
        return _with_ending(question, name, random)

    return edit


def _with_ending(question: Question, name: str, random: Random) -> Edited:
    frame, values = random.choice(ENDINGS[name])
    one, other = random.sample(values.split("|"), 2)
    text = question.text.rstrip("?. ")
    mark = "?" if question.text.endswith("?") else ""
    return f"{text}{frame.format(one)}{mark}", f"{text}{frame.format(other)}{mark}"


def _pick(pattern: str, text: str, random: Random) -> re.Match[str] | None:
    matches = list(re.finditer(pattern, text, re.IGNORECASE))
    return random.choice(matches) if matches else None


def _replace(match: re.Match[str], word: str) -> str:
    spelled = word.capitalize() if match.group()[0].isupper() else word
    return match.string[: match.start()] + spelled + match.string[match.end() :]


CLASSES: dict[str, Callable[[Question, Random], Edited]] = {
    "entity": edit_entity,
    "number": edit_number,
    "negation": edit_negation,
    "antonym": edit_antonym,
    "unit": _ending_of("unit"),
    "date": _ending_of("date"),
    "order": edit_order,
    "scope": _ending_of("scope"),
    "language": edit_language,
    "person": edit_person,
    "comparison": _ending_of("comparison"),
    "question": edit_question,
    "identifier": _ending_of("identifier"),
    "code or quote": _ending_of("code"),
    "tense": _ending_of("tense"),
    "object": edit_object,
    "action": edit_verb,
}

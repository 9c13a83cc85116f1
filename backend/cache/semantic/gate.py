"""The deterministic gate: two questions may share an answer only if their facts agree.

An embedding hardly sees a number, a "not" or the order of two names; this does. It compares what both texts state:
numbers, dates, units, negations, opposites, scope, quoted text, code, identifiers, names and their order, who and what
is asked about, and the language. It errs towards "differs": a lost hit costs one call, a false hit a wrong answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from backend.cache.semantic.gate_content import negates
from backend.cache.semantic.gate_facts import ORDERED, Facts, read_facts
from backend.cache.semantic.gate_language import detect
from backend.cache.semantic.gate_lexicon import LANGUAGES
from backend.cache.semantic.gate_text import normalise

_TOKEN = re.compile(r"\w+(?:['’.,:/@-]\w+)*|[^\w\s]")
_MARKED = re.compile(r"[\d\"“”«»„`']|[^\W\d_a-z]")
_SINGULAR = {"months": "dates", "days": "dates", "years": "dates", "clock": "times", "quantity": "amounts"}


@dataclass(slots=True, frozen=True)
class Verdict:
    """Whether two texts may share an answer, and why not."""

    agrees: bool
    findings: tuple[str, ...]
    """Short reasons, such as "numbers differ: 3 / 4"."""


def compare(asked: str, stored: str) -> Verdict:
    """Whether the facts of two questions agree. Pure and symmetric but for the order within a finding."""
    if asked == stored:
        return Verdict(agrees=True, findings=())
    findings = tuple(_find(asked, stored))
    return Verdict(not findings, findings)


def language_of(asked: str, stored: str) -> str | None:
    """The language whose tables both texts are read with; None where there is none."""
    first, second = detect(asked), detect(stored)
    shared = [language for language in first or second if language in (second or first)]
    return shared[0] if shared and shared[0] in LANGUAGES else None


def _find(asked: str, stored: str) -> Iterator[str]:
    language = language_of(asked, stored)
    if language is None:
        yield from _compare_strictly(asked, stored)
        return
    one, other = read_facts(asked, language), read_facts(stored, language)
    for check in _CHECKS:
        yield from check(one, other)


def _compare_strictly(asked: str, stored: str) -> Iterator[str]:
    """Without tables only case, spaces and punctuation may differ."""
    first, second = detect(asked), detect(stored)
    if first and second and not set(first) & set(second):
        yield f"languages differ: {first[0]} / {second[0]}"
        return
    one, other = _TOKEN.findall(normalise(asked)), _TOKEN.findall(normalise(stored))
    words = [[token.lower() for token in tokens if token[0].isalnum()] for tokens in (one, other)]
    if words[0] != words[1]:
        yield "words differ, and the language has no tables"
    marked = [sorted(token for token in tokens[1:] if _MARKED.search(token)) for tokens in (one, other)]
    if marked[0] != marked[1]:
        yield "capitals, digits or quotes differ, and the language has no tables"


def _compare_statements(one: Facts, other: Facts) -> Iterator[str]:
    for kind in ORDERED:
        first, second = one.said.get(kind, ()), other.said.get(kind, ())
        if first != second:
            yield _report(_SINGULAR.get(kind, kind if kind.endswith("s") else f"{kind}s"), first, second)


def _compare_counts(one: Facts, other: Facts) -> Iterator[str]:
    for kind in ("negations", "scope"):
        first, second = one.said.get(kind, ()), other.said.get(kind, ())
        if first != second and Counter(first) != Counter(second):
            yield _report(kind, first, second)


def _compare_people(one: Facts, other: Facts) -> Iterator[str]:
    """My and your exclude each other; somebody else's is never the same as nobody's."""
    for kind in ("possessive", "person"):
        first, second = Counter(one.said.get(kind, ())), Counter(other.said.get(kind, ()))
        left, right = first - second, second - first
        if (left and right) or any(value in _OTHERS for value in (*left, *right)):
            yield _report("people", tuple(left), tuple(right))


_OTHERS = frozenset({"3m", "3f", "3p", "3x"})


def _compare_questions(one: Facts, other: Facts) -> Iterator[str]:
    """Who, when, where, why, how much must agree; "what" and "how do I" only exclude each other."""
    first, second = one.said.get("questions", ()), other.said.get("questions", ())
    exclusive = ({*first} & _OPEN, {*second} & _OPEN)
    closed = [Counter(kind for kind in kinds if kind not in _OPEN) for kinds in (first, second)]
    if closed[0] != closed[1] or (all(exclusive) and not exclusive[0] & exclusive[1]):
        yield _report("questions", first, second)
    before, after = Counter(one.said.get("tenses", ())), Counter(other.said.get("tenses", ()))
    if before - after and after - before:
        yield _report("tenses", tuple(before - after), tuple(after - before))


_OPEN = frozenset({"what", "manner"})


def _compare_axes(one: Facts, other: Facts) -> Iterator[str]:
    for axis in one.axes.keys() & other.axes.keys():
        first, second = one.axes[axis], other.axes[axis]
        if first == second:
            continue
        left, right = Counter(first) - Counter(second), Counter(second) - Counter(first)
        if (left and right) or (not left and not right):
            yield _report("opposites", first, second)
    alone = {*one.content} - {*other.content}, {*other.content} - {*one.content}
    for word in sorted(alone[0]):
        for opposite in (match for match in sorted(alone[1]) if negates(word, match, one.language)):
            yield _report("opposites", (word,), (opposite,))


def _compare_names(one: Facts, other: Facts) -> Iterator[str]:
    """A name in one text must be in the other, in whatever case, and names must come in the same order."""
    named = one.named | other.named
    if not named:
        return
    first = tuple(word for word in one.words if word in named)
    second = tuple(word for word in other.words if word in named)
    if first == second:
        return
    yield _report("order of names" if Counter(first) == Counter(second) else "names", first, second)


def _compare_order(one: Facts, other: Facts) -> Iterator[str]:
    """From A to B is not from B to A, A better than B not B better than A, and dog bites man not man bites dog."""
    for word, role in one.roles.items():
        against = other.roles.get(word)
        if against and {role, against} == {"source", "goal"}:
            yield f"order differs: {role} {word} / {against} {word}"
    for role in ("than", "instead"):
        first, second = _with_role(one, role), _with_role(other, role)
        if first != second and (first & set(other.words) or second & set(one.words)) and first and second:
            yield f"order differs: {role} {' '.join(sorted(first))} / {role} {' '.join(sorted(second))}"
    if one.content != other.content and Counter(one.words) == Counter(other.words):
        yield _report("order", one.content, other.content)


def _with_role(facts: Facts, role: str) -> set[str]:
    return {word for word, found in facts.roles.items() if found == role}


def _report(what: str, first: tuple[str, ...], second: tuple[str, ...]) -> str:
    return f"{what} differ: {' '.join(first)[:60] or '–'} / {' '.join(second)[:60] or '–'}"


_CHECKS = (
    _compare_statements,
    _compare_counts,
    _compare_axes,
    _compare_people,
    _compare_questions,
    _compare_names,
    _compare_order,
)

"""Labelled pairs of questions, embedded and measured as the semantic cache would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.embedding import Embedding
from backend.cache.semantic.gate import compare
from backend.cache.semantic.minilm import Model
from backend.cache.semantic.verifier import Phrase, measure
from benchmarks.rig.edits import CLASSES
from benchmarks.rig.questions import Question, overlap
from benchmarks.rig.rephrasings import edit_harmlessly, pair_phrasings

Numbers = NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class Pair:
    """Two questions, whether they deserve the same answer, and where the pair comes from."""

    kind: str
    asked: str
    stored: str
    same: bool


@dataclass(slots=True)
class Memory:
    """The built-in embedder, and every embedding it gave."""

    model: Model
    found: dict[str, Embedding] = field(default_factory=dict)

    def phrases(self, texts: list[str]) -> list[Phrase]:
        """Each text with its embedding."""
        for text in texts:
            if text not in self.found:
                self.found[text] = self.model.embed(text)
        return [Phrase(text, self.found[text]) for text in texts]


def make_near_misses(questions: list[Question], count: int, random: Random) -> Iterator[Pair]:
    """At most ``count`` pairs of each class; an edit that changes only the case is none."""
    for name, edit in CLASSES.items():
        found: set[tuple[str, str]] = set()
        for question in random.choices(questions, k=count * 4):
            pair = edit(question, random)
            if pair and pair[0].lower() != pair[1].lower() and len(found) < count:
                found.add(pair)
        yield from (Pair(name, asked, stored, same=False) for asked, stored in sorted(found))


def make_paraphrases(questions: list[Question], count: int, random: Random) -> Iterator[Pair]:
    """Phrasings of the same answer, and harmless edits of each kind."""
    support = [question for question in questions if question.category != "intents"]
    plain = [question for question in questions if question.category == "intents"]
    for name, group, share in (("support phrasing", support, 1.0), ("intent phrasing", plain, 0.5)):
        phrasings = pair_phrasings(group, int(count * share), random)
        yield from (Pair(name, asked, stored, same=True) for _, asked, stored in phrasings)
    for kind, asked, stored in edit_harmlessly(questions, count // 6, random):
        yield Pair(kind, asked, stored, same=True)


def make_neighbours(questions: list[Question], memory: Memory, count: int, random: Random) -> Iterator[Pair]:
    """Questions that deserve another answer yet lie nearest, and as many that merely share the category."""
    chosen = random.sample(questions, min(count, len(questions)))
    vectors = np.stack([phrase.embedding.vector for phrase in memory.phrases([q.text for q in chosen])])
    intents = np.array([question.intent for question in chosen])
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in chosen:
        groups[question.category].append(question)
    for place, question in enumerate(chosen):
        cosines = np.where(intents == question.intent, -1.0, vectors @ vectors[place])
        nearest = chosen[int(cosines.argmax())]
        if not overlap(question.intent, nearest.intent):
            yield Pair("nearest of another intent", question.text, nearest.text, same=False)
        other = random.choice(groups[question.category])
        if not overlap(question.intent, other.intent):
            yield Pair("same category", question.text, other.text, same=False)


def make_other_aspects(questions: list[Question], count: int, random: Random) -> Iterator[Pair]:
    """The same intent, but another entity or another aspect of it."""
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if question.category != "intents":
            groups[question.intent].append(question)
    for _ in range(count if groups else 0):
        one, other = random.sample(random.choice(list(groups.values())), 2)
        if one.entity != other.entity:
            yield Pair("same intent, other entity", one.text, other.text, same=False)


def measure_pairs(pairs: list[Pair], memory: Memory, *, synonyms: bool = True) -> tuple[Numbers, NDArray[np.bool_]]:
    """The verifier's features of each pair, and whether the gate lets it pass."""
    features, agrees = [], []
    for pair in pairs:
        asked, stored = memory.phrases([pair.asked, pair.stored])
        verdict = compare(pair.asked, pair.stored)
        features.append(measure(asked, stored, verdict, synonyms=synonyms))
        agrees.append(verdict.agrees)
    return np.array(features), np.array(agrees)

"""A stream of questions with known truth: new ones, repeats, paraphrases and near misses of what was asked before.

Questions of support have their entities filled in anew from seeded lists; of the intents where only the very same
question surely deserves the same answer, one question each is taken. Nothing refers to the last ``LAG`` questions, so
that a cache that writes behind the answer has written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from benchmarks.rig.edits import CLASSES, ENTITIES
from benchmarks.rig.questions import PLAIN_INTENTS, Question, is_held_out, load_intents, load_support
from benchmarks.rig.rephrasings import EDITS

LAG = 64
SHARES = {"repeat": 0.25, "paraphrase": 0.40, "near miss": 0.20, "new": 0.15}
"""How often each kind is drawn; one that has nothing to give leaves its turn to a paraphrase."""

_IN_PLACE = ("negation", "antonym", "person", "question", "comparison", "unit", "date", "scope", "tense")
_SINGLE = ("number", "antonym", "unit", "date", "order", "scope", "comparison", "identifier", "code or quote", "entity")
_PLANS = "Bronze Silver Gold Platinum Basic Plus Family Student Team Startup Growth Scale Enterprise Premium Freemium"


@dataclass(slots=True, frozen=True)
class Topic:
    """Phrasings that deserve the same answer."""

    truth: str
    phrasings: tuple[Question, ...]


@dataclass(slots=True, frozen=True)
class Item:
    """One question of the stream; those of the same ``truth`` deserve the same answer."""

    text: str
    truth: str
    kind: str
    topic: Topic
    known: bool = False
    """Whether its truth was asked at least ``LAG`` questions before."""
    verbatim: bool = False
    """Whether it was asked before letter by letter."""


def make_stream(count: int, seed: int, *, held_out: bool) -> list[Item]:
    """So many questions; ``held_out`` takes only intents that the default verifier was not fitted on."""
    random = Random(seed)
    topics = [topic for topic in make_topics(random) if not held_out or is_held_out(topic.phrasings[0].intent)]
    return _mark(_Drawing(topics, random).draw(count))


def make_topics(random: Random) -> list[Topic]:
    """Every topic once, in random order."""
    groups: dict[tuple[str, ...], list[Question]] = defaultdict(list)
    for question in load_support():
        kind = question.entity[0] if question.entity else ""
        groups[(question.intent, kind, question.answer[3] if kind else question.answer[1])].append(question)
    largest: dict[tuple[str, str], list[Question]] = {}
    for (intent, kind, _), group in sorted(groups.items(), key=lambda each: len(each[1])):
        largest[(intent, kind)] = group
    topics = [topic for (_, kind), group in sorted(largest.items()) for topic in _fill(group, kind, random)]
    intents: dict[str, list[Question]] = defaultdict(list)
    for question in load_intents():
        intents[question.intent].append(question)
    for intent, group in sorted(intents.items()):
        asked = group if intent in PLAIN_INTENTS else [random.choice(group)]
        topics.append(Topic(intent, tuple(asked)))
    random.shuffle(topics)
    return topics


def _fill(group: list[Question], kind: str, random: Random) -> Iterator[Topic]:
    """The group itself where it names nothing; else one topic for each of the seeded entities."""
    if not kind:
        yield Topic(group[0].intent, tuple(group))
        return
    for value in _make_entities(kind, random):
        filled = [_put(question, value) for question in group]
        yield Topic(f"{group[0].intent}, {kind} {value}", tuple(question for question in filled if question))


def _put(question: Question, value: str) -> Question | None:
    kind, old = question.entity or ("", "")
    if question.text.count(old) != 1:
        return None
    return replace(question, text=question.text.replace(old, value), entity=(kind, value))


def _make_entities(kind: str, random: Random) -> list[str]:
    if kind == "account_type":
        return _PLANS.split()
    if kind == "person_name":
        return [f"{title} {name}" for title in ("Mr.", "Ms.") for name in ("Lopez", "Chen", "Okafor", "Weber", "Rossi")]
    if kind == "refund_amount":
        return [str(amount) for amount in random.sample(range(20, 2_000), 200)]
    if kind not in {"order_id", "invoice_id"}:
        return list(map(str.title, ENTITIES["country" if kind == "delivery_country" else "city"]))
    sign = "#" if kind == "invoice_id" else ""
    return [f"{sign}{number}" for number in random.sample(range(10_000, 10_000_000), 100)]


class _Drawing:
    """What was drawn so far, and what waits to be."""

    def __init__(self, topics: list[Topic], random: Random) -> None:
        self._topics = topics
        self._random = random
        self._near: list[tuple[int, Item]] = []
        self._items: list[Item] = []
        self._texts: set[str] = {question.text.lower() for topic in topics for question in topic.phrasings}

    def draw(self, count: int) -> list[Item]:
        while len(self._items) < count:
            [kind] = self._random.choices(list(SHARES), list(SHARES.values()))
            item = self._draw(kind if len(self._items) > LAG else "new")
            if item is None:
                raise ValueError(f"the data has questions for {len(self._items)} look-ups, not for {count}")
            self._items.append(item)
        return self._items

    def _draw(self, kind: str) -> Item | None:
        if kind == "new" and self._topics:
            return self._begin(self._topics.pop())
        ready = [place for place, (due, _) in enumerate(self._near) if due <= len(self._items)]
        if kind == "near miss" and ready:
            return self._near.pop(self._random.choice(ready))[1]
        if len(self._items) <= LAG:
            return None
        earlier = self._random.choice(self._items[:-LAG])
        return replace(earlier, kind="repeat") if kind == "repeat" else self._rephrase(earlier)

    def _begin(self, topic: Topic) -> Item:
        """A topic's first question; its near misses may be asked from ``LAG`` questions later on."""
        question = self._random.choice(topic.phrasings)
        single = len(topic.phrasings) == 1
        for name in self._random.sample(_SINGLE, len(_SINGLE)) if single else _IN_PLACE:
            pair = CLASSES[name](question, self._random)
            if pair is None or pair[1].lower() in self._texts or (pair[0] != question.text and not single):
                continue
            question = replace(question, text=pair[0])
            self._texts.add(pair[1].lower())
            alone = Topic(f"{topic.truth}, {name}: {pair[1]}", (replace(question, text=pair[1]),))
            due = len(self._items) + LAG + self._random.randrange(500)
            self._near.append((due, Item(pair[1], alone.truth, "near miss", alone)))
            if single:
                break
        return Item(question.text, topic.truth, "new", topic if not single else Topic(topic.truth, (question,)))

    def _rephrase(self, earlier: Item) -> Item:
        """Another phrasing of the same, or the same edited in a way that changes nothing."""
        others = [question.text for question in earlier.topic.phrasings if question.text != earlier.text]
        if others and self._random.random() < 0.6:
            return replace(earlier, text=self._random.choice(others), kind="paraphrase")
        for edit in self._random.sample(list(EDITS.values()), len(EDITS)):
            text = edit(earlier.text, self._random)
            if text != earlier.text:
                return replace(earlier, text=text, kind="paraphrase")
        return replace(earlier, kind="repeat")


def _mark(items: list[Item]) -> list[Item]:
    """The items with what a cache could know of each."""
    truths: Counter[str] = Counter()
    texts: set[str] = set()
    marked = []
    for place, item in enumerate(items):
        if place >= LAG:
            truths[items[place - LAG].truth] += 1
        marked.append(replace(item, known=truths[item.truth] > 0, verbatim=item.text in texts))
        texts.add(item.text)
    return marked

"""Made-up questions in other words: how near an answered one each is, whether it is served, what comparing shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from math import exp
from random import Random
from typing import TYPE_CHECKING

import orjson

from backend.cache.semantic.calibration import Calibration, Decision, Label

if TYPE_CHECKING:
    from backend.call import Entry
    from backend.settings.knobs import CacheSettings

REFUSED_SHARE = 0.22
"""Of the questions near another: those that the gate tells apart by a number, a name, a negation."""

MODESTY = 0.6
"""How much rarer answers differ than the verifier says where it is sure."""

LEAST_PROBABILITY = 0.05
REVIEWED_SHARE = 0.02
_DECIDE_EVERY = 25

_PHRASES = (
    "How do I {}?",
    "How can I {}?",
    "What do I have to do to {}?",
    "Please tell me how to {}.",
    "I would like to {}. How does that work?",
    "Which steps does it take to {}?",
)
_TOPICS = (
    ("reset my password", "reset my PIN"),
    ("cancel order 4417", "cancel order 4471"),
    ("switch on two-factor login", "switch off two-factor login"),
    ("export the customers of 2025", "export the customers of 2026"),
    ("move 3 seats to the annual plan", "move 30 seats to the annual plan"),
    ("add a colleague to the project", "remove a colleague from the project"),
    ("download the invoice of March", "download the invoice of May"),
    ("change the delivery address before shipping", "change the delivery address after shipping"),
    ("connect the calendar of Outlook", "connect the calendar of Google"),
    ("raise the storage limit to 50 GB", "raise the storage limit to 500 GB"),
    ("translate a page into Portuguese", "translate a page into Spanish"),
    ("undo the last import", "repeat the last import"),
)
"""Each with another that sounds alike and has another answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks: a topic or the one that sounds like it, in one of several phrases."""

    topic: int
    twisted: bool
    phrase: int

    @property
    def text(self) -> str:
        """As it is asked."""
        return _PHRASES[self.phrase].format(_TOPICS[self.topic][self.twisted])

    @property
    def answer(self) -> str:
        """What a model says to it; the same for the same topic."""
        wanted = _TOPICS[self.topic][self.twisted]
        return f"To {wanted}: open Settings, choose the entry of that name, and confirm. It takes about a minute."


@dataclass(frozen=True, slots=True)
class Nearness:
    """What the gateway would make of two questions, and whether they deserve the same answer in truth."""

    similarity: float
    probability: float
    same: bool


@dataclass(slots=True)
class SimilarQuestions:
    """The demo's semantic cache: draws how near questions are, decides by the gateway's own calibration, labels."""

    rng: Random
    settings: CacheSettings
    verifier: str
    labels: list[Label] = field(default_factory=list)
    """Verdicts not yet taken to the ledger."""
    _calibration: Calibration = field(default_factory=Calibration)
    _decisions: dict[str, tuple[int, Decision]] = field(default_factory=dict)
    _questions: dict[str, Question] = field(default_factory=dict)
    _pending: tuple[Entry, Nearness, tuple[float, float]] | None = None
    _counted: int = 0

    def ask(self, entry: Entry) -> Question:
        """A question of its own for a call."""
        question = Question(self.rng.randrange(len(_TOPICS)), self.rng.random() < 0.3, self._draw_phrase())
        self._questions[entry.id] = question
        return question

    def meet(self, entry: Entry, earlier: Entry) -> bool:
        """Let a call's question be near an earlier one; whether the earlier answer is served."""
        near = self._draw()
        before = self._questions.get(earlier.id) or self.ask(earlier)
        self._questions[entry.id] = Question(before.topic, before.twisted is near.same, self._draw_phrase())
        decision = self._decide(_partition_of(entry))
        entry.similarity, entry.cache_probability = near.similarity, near.probability
        entry.similarity_threshold, entry.source_call_id = decision.threshold, earlier.id
        entry.embed_ms = self.rng.lognormvariate(1.0, 0.3)
        sampling = decision.sampling(near.probability, self.settings.verify_share)
        verify = near.probability >= LEAST_PROBABILITY and self.rng.random() < sampling[0]
        self._pending = (entry, near, sampling) if verify else None
        served = decision.serves(near.probability) and not verify
        if served and self.rng.random() < REVIEWED_SHARE:
            self._label(entry, near, ("human", 0.0, 0.0))
        return served

    def compare(self, entry: Entry) -> None:
        """Label a would-be hit by its fresh answer, where it was drawn for that and there is an answer."""
        pending, self._pending = self._pending, None
        if pending is None or pending[0] is not entry or entry.status != "ok":
            return
        source = self.rng.choices(("embedding", "exact", "numeric", "structured"), (70, 16, 8, 6))[0]
        self._label(entry, pending[1], (source, *pending[2]))

    def write_bodies(self, entry: Entry) -> tuple[bytes, bytes] | None:
        """Request and answer as they would have been captured."""
        question = self._questions.get(entry.id)
        if question is None:
            return None
        answered = self._questions.get(str(entry.source_call_id)) if entry.cache_kind == "semantic" else None
        request = {"model": entry.model, "messages": [{"role": "user", "content": question.text}]}
        message = {"role": "assistant", "content": (answered or question).answer}
        return orjson.dumps(request), orjson.dumps({"choices": [{"index": 0, "message": message}]})

    def _draw(self) -> Nearness:
        rng, kind = self.rng, self.rng.random()
        if kind < REFUSED_SHARE:
            return Nearness(min(0.995, rng.gauss(0.93, 0.03)), 0.0, same=False)
        middle, spread = (7.0, 0.9) if kind < 0.62 else (1.4, 1.6) if kind < 0.84 else (-2.2, 1.4)
        logit = rng.gauss(middle, spread)
        probability = 1.0 / (1.0 + exp(-logit))
        similarity = 0.86 + 0.012 * logit + rng.gauss(0.02, 0.022)
        modesty = MODESTY if probability > 0.9 else 1.0
        different = rng.random() < modesty * (1.0 - probability)
        return Nearness(min(0.999, max(0.55, similarity)), probability, not different)

    def _draw_phrase(self) -> int:
        return self.rng.randrange(len(_PHRASES))

    def _decide(self, partition: str) -> Decision:
        """The decision in force, renewed after every few labels: workers follow them with a delay as well."""
        known = self._decisions.get(partition)
        if known is None or self._counted - known[0] >= _DECIDE_EVERY:
            known = self._decisions[partition] = (self._counted, self._calibration.decide(partition, self.settings))
        return known[1]

    def _label(self, entry: Entry, near: Nearness, how: tuple[str, float, float]) -> None:
        source, propensity, share = how
        label = Label(
            id=entry.id,
            at=entry.started_at + round(entry.latency_ms or 0.0),
            tenant=str(entry.tenant),
            partition=_partition_of(entry),
            similarity=near.similarity,
            probability=near.probability,
            same=near.same,
            source=source,
            propensity=propensity,
            share=share,
            source_call_id=entry.source_call_id,
            model=entry.model,
            verifier=self.verifier,
            actor="demo" if source == "human" else None,
        )
        self.labels.append(label)
        self._calibration.add(label)
        self._counted += 1


def _partition_of(entry: Entry) -> str:
    return hashlib.blake2b(f"{entry.feature}/{entry.model}".encode(), digest_size=16).hexdigest()

"""Answers made from the truth, as an upstream would give them, and a judge of answers who knows the truth."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import orjson

_OPENINGS = ("", "Sure! ", "Of course. ", "Happy to explain. ")
_PLACES = "account page|order list|help centre|billing page|mobile app|welcome e-mail|shop in your town|partner portal"
_THINGS = "profile|receipt|last statement|delivery note|contract|reference code|settings|summary|phone number|address"
_VERBS = "open|check|compare|confirm|print|save|forward|sign|change|read|update|copy"
_REASONS = "the bank asks for it|our partners work that way|the law wants it|stock is counted then"


def make_answer(truth: str, random: Random | None = None) -> str:
    """The facts of this truth; begun in one of a few ways where chance is given."""
    facts = Random(truth)  # text as a seed gives the same everywhere
    first, second, third = facts.sample(_VERBS.split("|"), 3)
    place, other = facts.sample(_PLACES.split("|"), 2)
    thing, last = facts.sample(_THINGS.split("|"), 2)
    steps = (
        f"Go to the {place}, {first} your {thing} and {second} number {facts.randrange(100, 1_000_000)}. "
        f"It takes {facts.randrange(2, 60)} days because {facts.choice(_REASONS.split('|'))}. "
        f"Afterwards {third} the {last} in the {other}."
    )
    return (random.choice(_OPENINGS) if random else "") + steps


class KnowingModel:
    """Says whether two answers are of one truth, and errs in so many of a hundred: what stands in for a judge."""

    def __init__(self, truths: Mapping[str, str], random: Random, error: float) -> None:
        self._truths = truths
        self._random = random
        self._error = error

    async def __call__(self, _name: str, body: dict[str, Any], _tenant: str) -> dict[str, Any]:
        """The reply to a judge's request."""
        quoted = body["messages"][1]["content"]
        mark = quoted.partition("<<<")[2].partition("\n")[0]
        _, *answers = [each.partition(f"\n{mark}>>>")[0] for each in quoted.split(f"<<<{mark}\n")[1:]]
        one, other = (self._truths[each] for each in answers)
        same = (one == other) != (self._random.random() < self._error)
        said = orjson.dumps({"mark": mark, "same": same}).decode()
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}

"""Answers made from the truth, as an upstream would give them: the same facts each time, in one wording or several."""

from __future__ import annotations

from random import Random

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

"""Questions that deserve the same answer: other phrasings found in the data, and edits that change nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random

from benchmarks.rig.questions import Question

_OPENINGS = ["please ", "hi, ", "hello, ", "hey, could you tell me, ", "thanks in advance: ", "excuse me, ", "ok, "]
_CLOSINGS = [", please", " please", ", thanks", ", thank you", " thx", ", can you help me?", ". Thanks a lot!", " pls"]
_CONTRACTIONS = [
    *[("I am", "I'm"), ("do not", "don't"), ("can not", "can't"), ("cannot", "can't"), ("what is", "what's")],
    *[("it is", "it's"), ("I would", "I'd"), ("I have", "I've"), ("how is", "how's"), ("does not", "doesn't")],
    *[
        ("you are", "you're"),
        ("where is", "where's"),
        ("is not", "isn't"),
        ("could not", "couldn't"),
        ("I will", "I'll"),
    ],
]
_WISHES = ["how can I ", "how do I ", "help me ", "I wish to ", "I am trying to "]
_WAYS = ["how to ", "I want to ", "what do I have to do to ", "please tell me how to ", "I don't know how to "]
_FRAMES = [
    (r"^(?:i want to|i need to|i would like to|i'd like to) ", _WISHES),
    (r"^how (?:can|do|could) i ", _WAYS),
    (r"^(?:what is|what's) ", ["tell me what is ", "do you know what is ", "I'd like to know what is "]),
    (r"^(?:can|could) you (?:please )?", ["please ", "I need you to ", "would you "]),
]
_ADVERBIALS = (
    r"(?i)^(.*\w) (today|tomorrow|tonight|yesterday|right now|next week|this week|last month|this month)([?.]?)$"
)


def change_case(text: str, random: Random) -> str:
    return random.choice([text.lower(), text.upper(), text[0].upper() + text[1:], text.capitalize()])


def change_punctuation(text: str, random: Random) -> str:
    bare = text.rstrip("?.! ")
    return random.choice([bare, f"{bare}?", f"{bare}.", f"{bare} ?", f"  {bare}!", bare.replace(",", "")])


def add_politeness(text: str, random: Random) -> str:
    start = random.choice(_OPENINGS) + (text[0].lower() + text[1:] if not text.startswith("I") else text)
    return random.choice([start, text.rstrip("?.! ") + random.choice(_CLOSINGS)])


def contract(text: str, random: Random) -> str:
    for long, short in random.sample(_CONTRACTIONS, len(_CONTRACTIONS)):
        for one, other in ((long, short), (short, long)):
            changed = re.sub(rf"(?i)\b{one}\b", other, text, count=1)
            if changed != text:
                return changed
    return text


def mistype(text: str, random: Random) -> str:
    """One slip in one longer word without digits: two letters swapped, one lost or one doubled."""
    words = list(re.finditer(r"[a-z]{5,}", text))
    if not words:
        return text
    word = random.choice(words)
    at = random.randrange(1, len(word.group()) - 2)
    letters = word.group()
    slips = [
        letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :],
        letters[:at] + letters[at + 1 :],
        letters[:at] + letters[at] + letters[at:],
    ]
    return text[: word.start()] + random.choice(slips) + text[word.end() :]


def reframe(text: str, random: Random) -> str:
    for pattern, openings in _FRAMES:
        changed = re.sub(f"(?i){pattern}", random.choice(openings), text)
        if changed != text:
            return changed
    return text


def move_adverbial(text: str, _random: Random) -> str:
    return re.sub(_ADVERBIALS, r"\2 \1\3", text)


EDITS: dict[str, Callable[[str, Random], str]] = {
    "case": change_case,
    "punctuation": change_punctuation,
    "politeness": add_politeness,
    "contraction": contract,
    "typing slip": mistype,
    "way of asking": reframe,
    "adverbial moved": move_adverbial,
}


def edit_harmlessly(questions: list[Question], count: int, random: Random) -> Iterable[tuple[str, str, str]]:
    """(kind, question, the same edited), each kind as often as the questions allow, at most ``count`` each."""
    for kind, edit in EDITS.items():
        found = 0
        for question in random.sample(questions, len(questions)):
            changed = edit(question.text, random)
            if changed != question.text and found < count:
                found += 1
                yield kind, question.text, changed


def pair_phrasings(questions: list[Question], count: int, random: Random) -> list[tuple[str, str, str]]:
    """(intent, phrasing, other phrasing) of questions that deserve the same answer; answers take turns."""
    groups: dict[tuple[str, ...], list[Question]] = defaultdict(list)
    for question in questions:
        groups[question.answer].append(question)
    choices = [group for group in groups.values() if len({q.text.lower() for q in group}) > 1]
    pairs: set[tuple[str, str, str]] = set()
    for _ in range(count * 20):
        one, other = random.sample(random.choice(choices), 2)
        if one.text.lower() != other.text.lower():
            pairs.add((one.intent, one.text, other.text))
        if len(pairs) >= count:
            break
    return sorted(pairs)

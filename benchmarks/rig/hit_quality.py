"""What a cache made of a stream whose truth is known: hits, false hits, missed paraphrases, time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from backend.cache.semantic.minilm import find_package_file
from benchmarks.rig.answers import make_answer
from benchmarks.rig.environment import install
from benchmarks.rig.known_stream import Item
from benchmarks.rig.process import ROOT
from benchmarks.rig.semantic_stream import Played, Served

PEER = "gptcache"


@dataclass(slots=True, frozen=True)
class Quality:
    """Shares of one stream, or of a part of it; NaN where there was nothing to take a share of."""

    hits: float
    false: float
    """Of all hits."""
    new_hits: float
    """Of the questions not asked before letter by letter."""
    new_false: float
    """Of the hits on those."""
    missed: float
    """Of the questions not asked before letter by letter, but in other words."""
    p50_ms: float
    """Of look-ups of questions not asked before letter by letter; so is the next."""
    p99_ms: float


def answer_all(items: Sequence[Item], random: Random | None = None) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Each question with the answer an upstream would give, and the truth that an answer is of.

    With chance the same answer is not always given in the same words.
    """
    asked = [(item.text, make_answer(item.truth, random)) for item in items]
    truths: dict[str, str] = {}
    for item, (_, answer) in zip(items, asked, strict=True):
        if truths.setdefault(answer, item.truth) != item.truth:
            raise ValueError("two truths have one answer")
    return asked, truths


def judge(items: Sequence[Item], served: Sequence[Served], truths: dict[str, str]) -> Quality:
    """A hit is false when its answer is that of another truth."""
    pairs = list(zip(items, served, strict=True))
    hit = np.array([answer is not None for answer, _ in served])
    false = np.array([answer is not None and truths[answer] != item.truth for item, (answer, _) in pairs])
    new = np.array([not item.verbatim for item in items])
    known = np.array([item.known for item in items])
    p50, p99 = np.percentile(np.array([spent_ms for _, spent_ms in served])[new], [50, 99])
    return Quality(
        share(hit, hit | ~hit),
        share(false, hit),
        share(hit, new),
        share(false, hit & new),
        share(~hit, new & known),
        float(p50),
        float(p99),
    )


def share(which: np.ndarray, among: np.ndarray) -> float:
    return float(which[among].mean()) if among.any() else float("nan")


def share_mislabelled(items: Sequence[Item], played: Played, truths: dict[str, str]) -> float:
    """How many labels, of all that comparing answers gave, say other than the truth."""
    stored = {call_id: truths[answer] for call_id, answer in played.sources.items()}
    wrong = [
        label.same != (stored[label.source_call_id] == items[place].truth)
        for place, label in played.labels
        if label.source_call_id is not None
    ]
    return float(np.mean(wrong)) if wrong else float("nan")


def play_gptcache(asked: Sequence[tuple[str, str]], folder: Path, model: Path, threshold: float) -> list[Served]:
    """The stream through GPTCache in a process and an environment of its own; raises ``RuntimeError``."""
    programs = install(PEER)
    stream, result = folder / "stream.json", folder / "served.json"
    tokenizer = find_package_file("tokenizer.json")
    stream.write_text(json.dumps({"model": str(model), "tokenizer": str(tokenizer), "asked": asked}))
    command = [str(programs / "python"), "-m", "benchmarks.rig.gptcache_stream", str(stream), str(folder)]
    environment = {"PYTHONPATH": str(ROOT), "PIP_NO_INDEX": "1"}  # it would install what it misses on its own
    words = [str(threshold), str(result)]
    done = subprocess.run([*command, *words], env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"GPTCache failed: {done.stderr[-2000:]}")
    return [(answer, spent_ms) for answer, spent_ms in json.loads(result.read_text())]

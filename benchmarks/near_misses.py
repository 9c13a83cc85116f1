"""Near misses beside paraphrases: what the gate alone and the gate with the verifier let pass, class by class.

Near misses are single edits after which the answer no longer fits (benchmarks/rig/edits.py). Paraphrases are the data's
own phrasings with the same intent, entity and aspect, and edits that change nothing. By default only intents that the
verifier was not fitted on; the threshold is the shipped one for 1 % wrong hits.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.cache.semantic.gate import compare
from backend.cache.semantic.minilm import NAME, load
from backend.cache.semantic.verifier import Verifier
from benchmarks.rig.machine import describe
from benchmarks.rig.pairs import Memory, Pair, make_near_misses, make_paraphrases
from benchmarks.rig.questions import available, is_held_out, load_intents, load_support

FACTUAL = ("entity", "number", "negation")


@dataclass(slots=True)
class Tally:
    """How many pairs of a class there were and how many came through."""

    pairs: int = 0
    gate: int = 0
    both: int = 0
    near: int = 0
    """With a cosine of at least 0.9, the threshold that is often advised."""
    gate_ns: int = 0
    verifier_ns: int = 0

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_600, help="near misses of each class")
    parser.add_argument("--paraphrases", type=int, default=4_000, help="phrasings of the support questions")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--all", action="store_true", help="also the intents that the verifier was fitted on")
    parser.add_argument("--model", type=Path, default=Path(".governor"), help="folder of the built-in embedder")
    parser.add_argument("--show", type=int, default=0, help="print so many that came through, of each class")
    options = parser.parse_args()
    if not available():
        raise SystemExit("../shared/data is not there")
    questions = [q for q in [*load_support(), *load_intents()] if options.all or is_held_out(q.intent)]
    random, machine = Random(options.seed), describe()
    wrong = list(make_near_misses(questions, options.pairs, random))
    right = list(make_paraphrases(questions, options.paraphrases, random))
    memory = Memory(load(options.model))
    print(f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}. {machine}. {NAME}, threshold {threshold():.4f}.")
    print(f"`{' '.join(['python', *sys.argv])}`: {len(questions):,} questions.\n")
    show_table("near misses", "false accepts", tally(wrong, memory, options.show))
    show_table("paraphrases", "hits", tally(right, memory, 0))


def threshold() -> float:
    shipped = json.loads(files("backend.cache.semantic").joinpath("verifier.json").read_text("utf-8"))
    return float(shipped["threshold_1_percent"])


def tally(pairs: Iterable[Pair], memory: Memory, show: int) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    verifier, least = Verifier.default(), threshold()
    for pair in pairs:
        counted = judge(pair, memory, verifier, least)
        tallies.setdefault(pair.kind, Tally()).add(counted)
        if counted.both and tallies[pair.kind].both <= show:
            print(f"  {pair.kind}: {pair.asked!r} / {pair.stored!r}")
    return tallies


def judge(pair: Pair, memory: Memory, verifier: Verifier, least: float) -> Tally:
    asked, stored = memory.phrases([pair.asked, pair.stored])
    started = time.perf_counter_ns()
    verdict = compare(pair.asked, pair.stored)
    compared = time.perf_counter_ns()
    passes = verdict.agrees and verifier.probability(asked, stored, verdict) >= least
    verified = time.perf_counter_ns()
    return Tally(
        pairs=1,
        gate=verdict.agrees,
        both=passes,
        near=float(asked.embedding.vector @ stored.embedding.vector) >= 0.9,
        gate_ns=compared - started,
        verifier_ns=verified - compared if verdict.agrees else 0,
    )


def show_table(title: str, counted: str, tallies: dict[str, Tally]) -> None:
    print(f"| {title} | pairs | cosine ≥ 0.9 | gate alone | **gate + verifier** |\n|---|---:|---:|---:|---:|")
    whole, factual = Tally(), Tally()
    for name, found in tallies.items():
        print(draw_row(name, found))
        whole.add(found)
        if name in FACTUAL:
            factual.add(found)
    if factual.pairs:
        print(draw_row("*entity, number, negation*", factual))
    print(draw_row(f"*all {counted}*", whole))
    verified = whole.verifier_ns / max(whole.gate, 1) / 1e6
    print(f"\nMean time of the gate {whole.gate_ns / whole.pairs / 1e6:.3f} ms, of the verifier {verified:.3f} ms.\n")


def draw_row(name: str, found: Tally) -> str:
    shares = [f"{count:,} ({count / found.pairs:.2%})" for count in (found.near, found.gate, found.both)]
    return f"| {name} | {found.pairs:,} | {shares[0]} | {shares[1]} | **{shares[2]}** |"


if __name__ == "__main__":
    main()

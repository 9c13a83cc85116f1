"""The shipped verifier: fitted on open data, checked on intents that it never saw, written to verifier.json.

Same answer: phrasings of one support intent with the same entity and the same aspect, phrasings of plain intents,
harmless edits. Another answer: near misses, the nearest question of another intent, the same category, another entity.
Two of five intents are kept from fitting; all figures are theirs. Every pair counts twice, with and without the tables
of synonyms, for those know the words of this data better than they will know a user's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.cache.semantic.minilm import NAME, load
from backend.cache.semantic.verifier import FEATURES, RISES
from backend.cache.semantic.verifier_fit import Curve, Fit, fit_curves
from benchmarks.rig.edits import CLASSES
from benchmarks.rig.machine import describe
from benchmarks.rig.pairs import (
    Memory,
    Pair,
    make_near_misses,
    make_neighbours,
    make_other_aspects,
    make_paraphrases,
    measure_pairs,
)
from benchmarks.rig.questions import available, is_held_out, load_intents, load_support

Numbers = NDArray[np.float64]
TARGET = Path(__file__).resolve().parents[1] / "backend" / "cache" / "semantic" / "verifier.json"
NATURAL = {
    "support phrasing",
    "intent phrasing",
    "nearest of another intent",
    "same category",
    "same intent, other entity",
}
EDITED_WEIGHT = 0.25
"""An edited pair tells less than one that people wrote; more of it would cost precision on those."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6_000, help="pairs of each natural kind")
    parser.add_argument("--model", type=Path, default=Path(".governor"), help="folder of the built-in embedder")
    parser.add_argument("--write", action="store_true", help="also write the coefficients that are shipped")
    options = parser.parse_args()
    if not available():
        raise SystemExit("../shared/data is not there")
    memory = Memory(load(options.model))
    pairs = make_pairs(memory, options.pairs, held_out=False)
    features, agrees = measure_pairs(pairs, memory)
    bare, _ = measure_pairs(pairs, memory, synonyms=False)
    fit = add_findings(fit_pairs(pairs, np.stack([features, bare]), agrees), pairs, features)
    threshold = find_threshold(fit.predict(features), pairs, agrees)
    held = make_pairs(memory, options.pairs * 2 // 3, held_out=True)
    report(fit, held, memory, threshold)
    if options.write:
        TARGET.write_text(json.dumps(describe_fit(fit, threshold), indent=1) + "\n")


def make_pairs(memory: Memory, count: int, *, held_out: bool) -> list[Pair]:
    """Pairs of all kinds over the intents that are kept from fitting, or over the others."""
    questions = [q for q in [*load_support(), *load_intents()] if is_held_out(q.intent) == held_out]
    random = Random(1 + held_out)
    return [
        *make_near_misses(questions, count // 8, random),
        *make_paraphrases(questions, count, random),
        *make_neighbours(questions, memory, count, random),
        *make_other_aspects(questions, count, random),
    ]


def fit_pairs(pairs: list[Pair], features: Numbers, agrees: NDArray[np.bool_]) -> Fit:
    """Curves from the pairs that the gate lets pass, each counted half with and half without synonyms."""
    labels, weights = label(pairs)[agrees], weigh(pairs)[agrees] / 2
    both = np.concatenate([features[0][agrees], features[1][agrees]])
    return fit_curves(both[:, :-1], np.tile(labels, 2), np.tile(weights, 2), RISES[:-1])


def add_findings(fit: Fit, pairs: list[Pair], features: Numbers) -> Fit:
    """The curve of the gate's findings: the mean probability of pairs with so many is their share of same ones."""
    labels, logits = label(pairs), fit.contributions(features[:, :-1]).sum(axis=1) + fit.intercept
    values = [0.0]
    for count in (1, 2, 3):
        chosen = features[:, -1] == count
        shifts = np.linspace(-8, 0, 161)
        errors = [abs(np.mean(1 / (1 + np.exp(-logits[chosen] - shift))) - labels[chosen].mean()) for shift in shifts]
        values.append(min(values[-1], float(shifts[int(np.argmin(errors))])))
    return Fit((*fit.curves, Curve(np.arange(4.0), np.array(values))), fit.intercept)


def find_threshold(chances: Numbers, pairs: list[Pair], agrees: NDArray[np.bool_]) -> float:
    """The lowest probability from which at most 1 % of the served pairs are wrong, weighed as in fitting.

    It lies no lower than where 1 % of any class of near misses would be served.
    """
    order = np.argsort(-chances[agrees], kind="stable")
    weights = weigh(pairs)[agrees][order]
    wrong = np.cumsum(weights * (1 - label(pairs)[agrees][order])) / np.cumsum(weights)
    last = np.flatnonzero(wrong <= 0.01)
    found = float(chances[agrees][order][last[-1]]) if len(last) else 1.0
    kinds = np.array([pair.kind for pair in pairs])
    for kind in CLASSES:
        ranked = -np.sort(-np.where(agrees, chances, 0.0)[kinds == kind])
        found = max(found, float(ranked[int(len(ranked) * 0.01)]) + 1e-4)
    return round(found, 4)


def label(pairs: list[Pair]) -> Numbers:
    return np.array([float(pair.same) for pair in pairs])


def weigh(pairs: list[Pair]) -> Numbers:
    return np.array([1.0 if pair.kind in NATURAL else EDITED_WEIGHT for pair in pairs])


def report(fit: Fit, pairs: list[Pair], memory: Memory, threshold: float) -> None:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    print(f"{when}. {describe()}. {NAME}. {len(pairs):,} held-out pairs.")
    print(f"`{' '.join(['python', *sys.argv])}`\n")
    print("| average precision | pairs | same | cosine | verifier | without synonyms |\n|---|---:|---:|---:|---:|---:|")
    features, agrees = measure_pairs(pairs, memory)
    bare, _ = measure_pairs(pairs, memory, synonyms=False)
    natural, labels = np.array([pair.kind in NATURAL for pair in pairs]), label(pairs)
    chosen = {
        "pairs people wrote": natural,
        "of these, those the gate lets pass": natural & agrees,
        "with near misses and harmless edits": np.ones(len(pairs), dtype=np.bool_),
        "of these, those the gate lets pass ": agrees,
    }
    chances, without = fit.predict(features), fit.predict(bare)
    for name, mask in chosen.items():
        scores = [average_precision(score[mask], labels[mask]) for score in (features[:, 0], chances, without)]
        shown = " | ".join(f"{score:.3f}" for score in scores)
        print(f"| {name} | {mask.sum():,} | {labels[mask].mean():.0%} | {shown} |")
    print(f"\nServed from {threshold} on (1 % wrong in fitting):")
    for name, mask in (("all pairs", np.ones(len(pairs), dtype=np.bool_)), ("pairs people wrote", natural)):
        served = mask & agrees & (chances >= threshold)
        share = labels[served].sum() / labels[mask].sum()
        print(
            f"- {name}: {served.sum():,}, {1 - labels[served].mean():.2%} of them wrong, {share:.1%} of the same ones"
        )


def average_precision(scores: Numbers, labels: Numbers) -> float:
    """Mean precision at the place of each right pair, best scores first."""
    ordered = labels[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return float((precision * ordered).sum() / ordered.sum())


def describe_fit(fit: Fit, threshold: float) -> dict[str, object]:
    return {
        "source": "benchmarks/fit_verifier.py on bitext customer-support (CDLA-Sharing 1.0) and CLINC150 (CC-BY 3.0)",
        "embedder": NAME,
        "threshold_1_percent": threshold,
        "features": list(FEATURES),
        "fit": fit.dump(),
    }


if __name__ == "__main__":
    main()

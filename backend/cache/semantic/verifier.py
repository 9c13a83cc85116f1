"""The verifier: how probably two questions deserve the same answer, when vectors are near and facts agree.

A logistic regression on what the embedding's cosine cannot tell apart: how well each word is matched in the other text,
how rare the words without a counterpart are, what the gate found. Fitted by benchmarks/fit_verifier.py. The rarity of
an English word is its rank in gate_frequent.json; for an embedder without token vectors cosine replaces alignment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.embedding import Embedding
from backend.cache.semantic.gate import Verdict
from backend.cache.semantic.verifier_fit import Fit, refit
from backend.cache.semantic.verifier_words import Comparison, compare_words

Numbers = NDArray[np.float64]

FEATURES = (
    "cosine",
    "alignment",
    "alignment of the lower side",
    "alignment of the worst word",
    "unmatched",
    "dropped",
    "substituted",
    "same words",
    "reordered",
    "function words",
    "length",
    "findings",
)
"""What ``measure`` returns, in this order; a change makes shipped and refitted numbers void."""
RISES = np.array([1, 1, 1, 1, -1, -1, -1, 1, -1, -1, -1, -1], dtype=np.float64)
"""Whether more of a feature can only speak for the same answer, or only against it."""

LEAST_PROBABILITY = 0.05
"""Pairs below it are no would-be hits: nobody learns from comparing their answers."""
LEAST_LABELS = 200
LEAST_OF_A_KIND = 20
"""Labels, and right and wrong ones of them, that a refit needs."""


@dataclass(slots=True, frozen=True)
class Phrase:
    """A question and its embedding."""

    text: str
    embedding: Embedding


def measure(asked: Phrase, stored: Phrase, verdict: Verdict, *, synonyms: bool = True) -> Numbers:
    """The features of a pair in the order of ``FEATURES``; the order of the pair makes no difference.

    ``synonyms`` False leaves the tables of synonyms out, as for a trade whose words they lack.
    """
    words = compare_words(asked.text, stored.text, synonyms=synonyms)
    mean, lower, worst, alone = _align(asked.embedding, stored.embedding, words)
    return np.array(
        [
            float(np.dot(asked.embedding.vector, stored.embedding.vector)),
            mean,
            lower,
            worst,
            words.unmatched_share,
            words.dropped,
            words.substituted * (1.0 - alone),
            float(words.same),
            float(words.reordered),
            words.function_words,
            words.length,
            min(len(verdict.findings), 3),
        ],
        dtype=np.float64,
    )


def _align(asked: Embedding, stored: Embedding, words: Comparison) -> tuple[float, float, float, float]:
    """Mean, lower side and worst of every piece's best match in the other text, and the mean of unmatched words'.

    Pieces count by their rarity. Without token vectors all four are the cosine of the texts.
    """
    one, other = asked.tokens, stored.tokens
    if one is None or other is None or not len(one) or not len(other):
        cosine = float(np.dot(asked.vector, stored.vector))
        return cosine, cosine, cosine, cosine
    cosines = one @ other.T
    sides = [(cosines.max(axis=1), words.weigh(asked.pieces, 0)), (cosines.max(axis=0), words.weigh(stored.pieces, 1))]
    means = [float(best @ weights) / float(weights.sum()) for best, (weights, _) in sides]
    worst = min(float(np.where(weights > 0.3, best, 1.0).min()) for best, (weights, _) in sides)
    alone = np.concatenate([best[lonely] for best, (_, lonely) in sides])
    return sum(means) / 2, min(means), worst, float(alone.mean()) if len(alone) else 1.0


class Verifier:
    """Curves that turn features into a probability."""

    def __init__(self, name: str, fit: Fit, fitted_until: int = 0, shipped: Fit | None = None) -> None:
        self.name = name
        """Changes with the numbers, so that probabilities of different verifiers are never counted together."""
        self.fit = fit
        self.fitted_until = fitted_until
        """Labels up to this time (epoch ms) may have had a say in it; 0: none of the user's."""
        self._shipped = shipped or fit

    @classmethod
    def default(cls) -> Verifier:
        """The shipped one; read once."""
        return _load_default()

    def probability(self, asked: Phrase, stored: Phrase, verdict: Verdict) -> float:
        """How probably both deserve the same answer, 0 to 1."""
        return self.estimate(measure(asked, stored, verdict))

    def estimate(self, features: Numbers) -> float:
        """The same of a pair that was measured.

        A refit believes no pair of a kind whose answers were never compared: nothing speaks for it.
        """
        chance = self.fit.estimate(features)
        if self._shipped is self.fit or chance < LEAST_PROBABILITY or self.compares(features):
            return chance
        return self._shipped.estimate(features)

    def compares(self, features: Numbers) -> bool:
        """Whether answers of such pairs are compared at all: the shipped verifier says so, whoever refits it."""
        return self._shipped.estimate(features) >= LEAST_PROBABILITY


@cache
def _load_default() -> Verifier:
    shipped = json.loads(files(__package__).joinpath("verifier.json").read_text("utf-8"))
    if tuple(shipped["features"]) != FEATURES:
        raise ValueError("verifier.json was fitted on other features: run benchmarks/fit_verifier.py")
    found = Fit.load(shipped["fit"])
    return Verifier(f"shipped-{found.digest()}", found)


def fit(features: Numbers, labels: Numbers, weights: Numbers | None = None) -> tuple[Verifier | None, str]:
    """A verifier refitted on own labels (1 same answer, 0 not), or None and why the labels do not suffice.

    Few labels move the shipped curves a little, many as far as they must: the shipped ones are the prior's mean.
    """
    same, different = int(np.sum(labels > 0.5)), int(np.sum(labels <= 0.5))
    if len(labels) < LEAST_LABELS:
        return None, f"{len(labels)} labels of at least {LEAST_LABELS}"
    if min(same, different) < LEAST_OF_A_KIND:
        return None, f"{same} right and {different} wrong labels, of each at least {LEAST_OF_A_KIND}"
    found = refit(Verifier.default().fit, features, labels, np.ones(len(labels)) if weights is None else weights)
    return Verifier(f"refitted-{found.digest()}", found), ""

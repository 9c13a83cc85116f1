"""The verifier refitted on a user's own labels, taken up only where it proves better on labels it never saw.

Every call belongs for good to one of four folds by its id. Two are fitted on. The third compares: the refit replaces
the verifier in use when its log loss there is lower by at least ``LEAST_GAIN`` nats a label with 97.5 % confidence (the
lower bound of the mean paired difference, normal approximation, probabilities held within 0.001 and 0.999). The fourth
fold, and every later call, is all the evidence that counts for its threshold: none of it had a say in the fit or in
choosing it. Labels keep the features of their pair, so what an older verifier scored is scored anew. A refit is tried
when labels first suffice and again whenever they have doubled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.features import read_features
from backend.cache.semantic.forecast import resolve, weigh_labels
from backend.cache.semantic.verifier import LEAST_LABELS, Verifier, fit
from backend.cache.semantic.verifier_fit import Fit
from db.cache_labels import Label
from db.cache_verifiers import VerifierRow

Numbers = NDArray[np.float64]

LEAST_GAIN = 0.01
GROWTH = 2
FITTED_ON, COMPARED_ON, EVIDENCE = (0, 1), (2,), (3,)
_LEAST_COMPARED = 10
"""Right and wrong labels each that the comparison needs."""
_CONFIDENT = 1.96
_SUREST = 0.001


def fold_of(call_id: str) -> int:
    """0 to 3, by lot but always the same for one call."""
    return blake2b(call_id.encode(), digest_size=1).digest()[0] % 4


@dataclass(slots=True)
class Hindsight:
    """What one verifier would have said of the pairs that others scored."""

    verifier: Verifier
    space: str
    _spent: set[str] = field(default_factory=set)
    """Calls that had a say in the verifier: whoever judges them anew later, they are no evidence about it."""

    def rescore(self, label: Label) -> Label | None:
        """The label as evidence about this verifier; None where it is none.

        One whose features are not known cannot be scored anew; picked by hand because it was wrong, it counts all the
        same, at the probability it was served with.
        """
        if label.id in self._spent or (label.at <= self.verifier.fitted_until and fold_of(label.id) not in EVIDENCE):
            self._spent.add(label.id)
            return None
        if label.verifier == self.verifier.name:
            return label
        features = read_features(label.features, self.space)
        if features is not None:
            return replace(label, probability=self.verifier.estimate(features), verifier=self.verifier.name)
        refitted = self.verifier.fitted_until > 0
        return label if refitted and not label.propensity and not label.same else None


def is_due(labels: int, tried: Sequence[VerifierRow]) -> bool:
    """Whether there are labels enough for another try."""
    return labels >= labels_for_next(tried)


def labels_for_next(tried: Sequence[VerifierRow]) -> int:
    """How many labels the next try needs."""
    return GROWTH * (tried[-1].labels if tried else LEAST_LABELS)


def try_refit(
    labels: Sequence[Label], current: Verifier, space: str, tried: Sequence[VerifierRow]
) -> VerifierRow | None:
    """A refit on these labels and how it compares; None while they do not suffice."""
    pairs = [(label, read_features(label.features, space)) for label in resolve(labels)]
    known = [(label, features) for label, features in pairs if features is not None]
    if not is_due(len(known), tried):
        return None
    ours, theirs = _pick(known, FITTED_ON), _pick(known, COMPARED_ON)
    fitted, _ = fit(*ours)
    if fitted is None or not _suffices(theirs):
        return None
    gain, at_least = compare_losses(current, fitted, theirs)
    return VerifierRow(
        space=space,
        generation=tried[-1].generation + 1 if tried else 1,
        name=fitted.name,
        replaces=current.name,
        numbers=json.dumps(fitted.fit.dump()),
        fitted_at=time.time_ns() // 1_000_000,
        fitted_until=max(label.at for label, _ in known),
        labels=len(known),
        held_out=len(theirs[1]),
        gain=gain,
        gain_low=at_least,
        adopted=at_least >= LEAST_GAIN,
    )


def compare_losses(current: Verifier, fitted: Verifier, pairs: tuple[Numbers, Numbers, Numbers]) -> tuple[float, float]:
    """By how many nats a label the fitted one is better, and what that is at least at 97.5 %."""
    features, same, weights = pairs
    before, after = (_losses(each.fit.predict(features), same) for each in (current, fitted))
    gains = weights * (before - after) / weights.mean()
    mean = float(gains.mean())
    return mean, mean - _CONFIDENT * float(gains.std(ddof=1)) / len(gains) ** 0.5


def open_verifier(row: VerifierRow) -> Verifier:
    """A verifier as it was written; raises ``ValueError`` or ``LookupError`` for numbers that are none."""
    return Verifier(row.name, Fit.load(json.loads(row.numbers)), row.fitted_until, Verifier.default().fit)


def _losses(chances: Numbers, same: Numbers) -> Numbers:
    held = np.clip(chances, _SUREST, 1.0 - _SUREST)
    losses: Numbers = -np.where(same > 0.5, np.log(held), np.log1p(-held))
    return losses


def _pick(known: Sequence[tuple[Label, Numbers]], folds: tuple[int, ...]) -> tuple[Numbers, Numbers, Numbers]:
    """Features, verdicts and weights of the labels in these folds."""
    chosen = [(label, features) for label, features in known if fold_of(label.id) in folds]
    labels = [label for label, _ in chosen]
    verdicts = np.array([float(label.same) for label in labels])
    rows = np.array([features for _, features in chosen])
    return rows, verdicts, np.array(weigh_labels(labels))


def _suffices(pairs: tuple[Numbers, Numbers, Numbers]) -> bool:
    same = pairs[1]
    return min(int((same > 0.5).sum()), int((same <= 0.5).sum())) >= _LEAST_COMPARED

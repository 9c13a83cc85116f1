"""The verifier refitted on a user's labels: taken up only where better, judged by labels it never saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.cache.semantic.features import read_features, space_of, write_features
from backend.cache.semantic.refit import (
    COMPARED_ON,
    EVIDENCE,
    FITTED_ON,
    Hindsight,
    fold_of,
    is_due,
    open_verifier,
    try_refit,
)
from backend.cache.semantic.verifier import FEATURES, LEAST_LABELS, Verifier
from backend.settings.knobs import CacheSettings
from db.cache_labels import Label

SPACE = space_of("words")
SHIPPED = Verifier.default()
SETTINGS = CacheSettings(max_false_hit_rate=0.05)
TYPICAL = np.array([0.9, 0.85, 0.8, 0.6, 0.1, 0.2, 0.0, 0.0, 0.0, 0.1, 0.1, 0.0])


def make_labels(count: int, *, surprising: bool, first: int = 0) -> list[Label]:
    """Labels that come true as the shipped verifier says, or by a rule of their own: all depends on the cosine."""
    random = np.random.default_rng(4 + first)
    labels = []
    for number in range(first, first + count):
        features = TYPICAL.copy()
        features[FEATURES.index("cosine")] = random.uniform(0.6, 1.0)
        features[FEATURES.index("unmatched")] = random.uniform(0.0, 0.6)
        chance = SHIPPED.estimate(features)
        truth = float(features[0] > 0.75) if surprising else chance
        same = bool(random.uniform() < (0.98 * truth + 0.01 if surprising else truth))
        packed = write_features(SPACE, features)
        said: dict[str, Any] = {
            "similarity": float(features[0]),
            "probability": chance,
            "verifier": SHIPPED.name,
            "features": packed,
        }
        at = number + 1
        labels.append(
            Label(f"call-{number}", at, "t", "00" * 16, same=same, source="exact", propensity=1.0, stored_at=at, **said)
        )
    return labels


def test_features_survive_being_written_down() -> None:
    found = read_features(write_features(SPACE, TYPICAL), SPACE)
    assert found is not None
    assert found == pytest.approx(TYPICAL, abs=1e-6)


@pytest.mark.parametrize("text", [None, "", "x", f"{SPACE}:", f"{SPACE}:????", f"{SPACE}:AAAA", "00000000:AAAA"])
def test_features_of_another_space_or_broken_ones_are_none(text: str | None) -> None:
    assert read_features(text, SPACE) is None


def test_another_embedder_is_another_space() -> None:
    assert space_of("a") != space_of("b")


def test_calls_fall_into_four_folds_of_like_size_for_good() -> None:
    folds = [fold_of(f"call-{number}") for number in range(4_000)]
    assert all(900 < folds.count(fold) < 1_100 for fold in (*FITTED_ON, *COMPARED_ON, *EVIDENCE))
    assert folds[:10] == [fold_of(f"call-{number}") for number in range(10)]


def test_a_refit_that_is_better_on_labels_it_never_saw_is_adopted() -> None:
    row = try_refit(make_labels(1_600, surprising=True), SHIPPED, SPACE, [])
    assert row is not None
    assert row.adopted
    assert row.gain > row.gain_low >= 0.01
    assert (row.generation, row.labels, row.replaces, row.fitted_until) == (1, 1_600, SHIPPED.name, 1_600)
    assert open_verifier(row).name == row.name


def test_a_refit_that_is_no_better_is_kept_on_record_but_not_adopted() -> None:
    row = try_refit(make_labels(1_600, surprising=False), SHIPPED, SPACE, [])
    assert row is not None
    assert not row.adopted


def test_it_waits_for_labels_of_both_kinds_and_for_twice_as_many_after_each_try() -> None:
    few = make_labels(2 * LEAST_LABELS - 1, surprising=True)
    assert try_refit(few, SHIPPED, SPACE, []) is None
    right = [replace(label, same=True) for label in make_labels(1_000, surprising=True)]
    assert try_refit(right, SHIPPED, SPACE, []) is None
    row = try_refit(make_labels(1_000, surprising=True), SHIPPED, SPACE, [])
    assert row is not None
    assert not is_due(1_999, [row])
    assert is_due(2_000, [row])


def test_labels_without_features_teach_nothing() -> None:
    bare = [replace(label, features=None) for label in make_labels(1_000, surprising=True)]
    assert try_refit(bare, SHIPPED, SPACE, []) is None


def test_what_an_older_verifier_scored_is_scored_anew_and_what_was_fitted_on_is_no_evidence() -> None:
    labels = make_labels(1_600, surprising=True)
    row = try_refit(labels, SHIPPED, SPACE, [])
    assert row is not None
    refitted = open_verifier(row)
    hindsight = Hindsight(refitted, SPACE)
    found = [each for each in map(hindsight.rescore, labels) if each is not None]
    assert {fold_of(label.id) for label in found} == set(EVIDENCE)
    features = read_features(found[0].features, SPACE)
    assert features is not None
    assert found[0].probability == refitted.estimate(features)
    later = replace(labels[0], id="later", at=2_000)
    assert hindsight.rescore(later) is not None
    spent = next(label for label in labels if fold_of(label.id) in FITTED_ON)
    assert hindsight.rescore(replace(spent, at=5_000, source="human")) is None


def test_of_what_cannot_be_scored_anew_only_wrong_hits_picked_by_hand_count() -> None:
    row = try_refit(make_labels(1_600, surprising=True), SHIPPED, SPACE, [])
    assert row is not None
    hindsight = Hindsight(open_verifier(row), SPACE)
    bare = replace(make_labels(1, surprising=True)[0], id="bare", at=9_000, features=None)
    assert hindsight.rescore(bare) is None
    assert hindsight.rescore(replace(bare, propensity=0.0, same=True)) is None
    wrong = replace(bare, propensity=0.0, same=False)
    assert hindsight.rescore(wrong) == wrong


def test_a_refit_believes_no_kind_of_pair_whose_answers_were_never_compared() -> None:
    never = np.array([0.1, 0.1, 0.1, 0.1, 1.0, 3.0, 3.0, 0.0, 1.0, 1.0, 2.0, 0.0])
    assert SHIPPED.estimate(never) < 0.05
    lax = Verifier("lax", replace(SHIPPED.fit, intercept=30.0), 1, SHIPPED.fit)
    assert lax.estimate(TYPICAL) > 0.9
    assert lax.estimate(never) < 0.05

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.semantic.confidence import Counts, count, log_evidence, lower_bound, upper_bound

ALPHA = 0.05
STREAMS = 400


def ever_refuted(wrong: np.ndarray, weights: np.ndarray, rate: float) -> bool:
    """Whether the evidence against the rate reached 1/α after any of the labels."""
    kinds = np.unique(weights)
    rows = [(weights == kind).astype(int) for kind in kinds]
    right_counts = np.stack([np.cumsum(row * ~wrong) for row in rows])
    wrong_counts = np.stack([np.cumsum(row * wrong) for row in rows])
    return bool(log_evidence(Counts(kinds, right_counts, wrong_counts), rate).max() >= -np.log(ALPHA))


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.2])
def test_a_true_rate_is_refuted_at_any_time_in_hardly_any_stream(rate: float) -> None:
    random = np.random.default_rng(1)
    refuted = [ever_refuted(random.random(3_000) < rate, np.ones(3_000), rate) for _ in range(STREAMS)]
    assert np.mean(refuted) <= ALPHA


def picked(random: np.random.Generator, look_ups: int = 12_000) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts and weights of labels: safe candidates are always verified, risky ones in a twentieth."""
    risky = random.random(look_ups) < 0.5
    wrong = random.random(look_ups) < np.where(risky, 0.038, 0.002)  # 0.02 on average
    propensity = np.where(risky, 0.05, 1.0)
    chosen = random.random(look_ups) < propensity
    return wrong[chosen], np.round(0.05 / propensity[chosen], 4)


def test_weights_undo_that_safe_candidates_were_verified_more_often() -> None:
    random = np.random.default_rng(9)
    samples = [picked(random) for _ in range(300)]
    assert np.mean([ever_refuted(wrong, weights, 0.02) for wrong, weights in samples]) <= ALPHA
    assert np.mean([ever_refuted(wrong, np.ones(len(wrong)), 0.02) for wrong, _ in samples[:50]]) > 0.9


def test_a_rate_well_below_is_refuted_soon() -> None:
    random = np.random.default_rng(3)
    refuted = [ever_refuted(random.random(1_200) < 0.002, np.ones(1_200), 0.01) for _ in range(100)]
    assert np.mean(refuted) > 0.8


@given(st.integers(0, 5_000), st.integers(0, 200), st.floats(0.001, 0.2))
def test_every_error_more_raises_the_bound_and_every_right_one_lowers_it(right: int, wrong: int, alpha: float) -> None:
    bound = upper_bound(count(right, wrong), alpha)
    assert upper_bound(count(right, wrong + 1), alpha) >= bound
    assert upper_bound(count(right + 1, wrong), alpha) <= bound
    assert lower_bound(count(right, wrong), alpha) <= bound


@given(st.integers(0, 3_000), st.integers(0, 100), st.sampled_from([0.01, 0.02, 0.3]))
def test_a_bound_below_a_rate_and_evidence_against_it_are_the_same_thing(right: int, wrong: int, rate: float) -> None:
    evidence = log_evidence(count(right, wrong), rate)[0]
    if abs(evidence + np.log(ALPHA)) > 1e-6:
        assert (upper_bound(count(right, wrong), ALPHA) < rate) == (evidence > -np.log(ALPHA))


def test_bounds_enclose_the_share_and_nothing_is_known_without_labels() -> None:
    for right, wrong in ((0, 50), (50, 0), (990, 10), (500, 500)):
        low, high = lower_bound(count(right, wrong), ALPHA), upper_bound(count(right, wrong), ALPHA)
        assert low <= wrong / (right + wrong) <= high
    assert upper_bound(count(0, 0), ALPHA) == pytest.approx(1.0)
    assert lower_bound(count(0, 0), ALPHA) == pytest.approx(0.0)
    assert upper_bound(count(1_000, 0), ALPHA) < 0.006
    assert lower_bound(count(900, 100), ALPHA) > 0.06


def test_labels_of_no_weight_say_nothing() -> None:
    nothing = Counts(np.array([1.0, 0.0]), np.array([[100], [9_000]]), np.array([[1], [500]]))
    assert log_evidence(nothing, 0.02)[0] == pytest.approx(log_evidence(count(100, 1), 0.02)[0])

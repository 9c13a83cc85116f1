from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.cache.semantic.forecast import Recorded, calibration_curve, predict, resolve
from db.cache_labels import Label


def label(number: int, probability: float, same: bool, **values: Any) -> Label:
    said: dict[str, Any] = {"tenant": "t", "partition": "aa", "similarity": 0.9, "source": "exact", "propensity": 1.0}
    return Label(id=f"call-{number}", at=number, probability=probability, same=same, **(said | values))


def test_a_lower_threshold_hits_more_saves_more_and_errs_more() -> None:
    recorded = [Recorded(p, 1_000, 200.0) for p in (0.99, 0.95, 0.8, 0.4)] + [Recorded(None, 9_000, 900.0)]
    labels = [label(n, 0.99, same=True) for n in range(300)] + [label(n, 0.8, same=n % 4 > 0) for n in range(300, 400)]
    strict, lax = predict(labels, recorded, 0.9), predict(labels, recorded, 0.7)
    assert (strict.hit_rate, strict.saved_nusd, strict.saved_ms, strict.false_hit_rate) == (0.4, 2_000, 400.0, 0.0)
    assert (lax.hit_rate, lax.saved_nusd) == (0.6, 3_000)
    assert lax.false_hit_rate == pytest.approx(25 / 400)
    assert 0 < lax.low < 25 / 400 < lax.high < 0.2
    assert (strict.low, strict.high < lax.high) == (0.0, True)


def test_without_labels_or_traffic_nothing_is_claimed() -> None:
    nothing = predict([], [], 0.9)
    assert (nothing.hit_rate, nothing.false_hit_rate, nothing.low, nothing.high) == (0.0, None, 0.0, 1.0)
    assert predict([], [Recorded(0.95, None, None)], 0.9).saved_nusd == 0


def test_labels_of_served_hits_weigh_as_many_as_they_stand_for() -> None:
    served = [label(n, 0.99, same=n > 0, propensity=0.05) for n in range(100)]
    candidates = [label(n, 0.9, same=False) for n in range(100, 200)]
    found = predict([*served, *candidates], [], 0.5)
    assert found.false_hit_rate == pytest.approx((20 + 100) / (2_000 + 100))
    assert found.low < 0.06 < found.high


def test_labels_from_before_anything_was_served_count_in_full() -> None:
    observed = [label(n, 0.99, same=True, share=1.0) for n in range(2_000)]
    served = [label(n, 0.99, same=n > 2_000, propensity=0.05, share=0.05) for n in range(2_000, 2_010)]
    found = predict([*observed, *served], [], 0.5)
    assert found.false_hit_rate == pytest.approx(1 / 2_010)
    assert found.low < 1 / 2_010 < found.high < 0.01


def test_a_person_decides_with_the_propensity_of_the_sample_whichever_came_first() -> None:
    machine, person = (
        label(1, 0.9, same=True, propensity=0.05),
        label(1, 0.9, same=False, source="human", propensity=0.0),
    )
    for order in ([machine, person], [person, machine]):
        (found,) = resolve(order)
        assert (found.same, found.source, found.propensity) == (False, "human", 0.05)
    assert resolve([person]) == []


def test_the_curve_shows_what_was_said_beside_what_was_true() -> None:
    random = np.random.default_rng(1)
    said = random.random(4_000)
    labels = [label(n, float(p), same=bool(random.random() < p)) for n, p in enumerate(said)]
    curve = calibration_curve(labels, points=8)
    assert [point.labels for point in curve] == [500] * 8
    assert all(point.low <= point.same <= point.high for point in curve)
    assert all(point.low <= point.probability <= point.high for point in curve)
    assert [point.probability for point in curve] == sorted(point.probability for point in curve)
    assert calibration_curve([]) == []
    assert len(calibration_curve(labels[:3])) == 3

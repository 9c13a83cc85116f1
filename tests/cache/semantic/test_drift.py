from __future__ import annotations

import numpy as np

from backend.cache.semantic.drift import Drift


def alarms(drift: Drift, rates: list[float], labels: int, seed: int) -> list[int]:
    """After which labels a change was announced; bands take turns."""
    random = np.random.default_rng(seed)
    wrong = random.random(labels) < np.resize(rates, labels)
    return [index for index in range(labels) if drift.add(index % len(rates), wrong=bool(wrong[index]))]


def test_a_steady_stream_is_left_alone() -> None:
    found = [alarms(Drift(), [0.002, 0.05, 0.3, 0.7], 10_000, seed) for seed in range(20)]
    assert sum(map(len, found)) <= 3


def test_fewer_errors_are_no_alarm() -> None:
    drift = Drift()
    alarms(drift, [0.1, 0.4], 2_000, 1)
    assert alarms(drift, [0.02, 0.1], 4_000, 2) == []


def test_odds_thrice_as_high_are_noticed_within_a_few_hundred_labels() -> None:
    delays = []
    for seed in range(20):
        drift = Drift()
        alarms(drift, [0.002, 0.05, 0.3], 3_000, seed)
        delays.append(alarms(drift, [0.006, 0.136, 0.5625], 900, seed + 100)[0])
    assert np.median(delays) < 200


def test_a_burst_of_errors_among_the_surest_is_noticed_at_once() -> None:
    drift = Drift()
    alarms(drift, [0.001], 1_000, 3)
    assert any(drift.add(0, wrong=True) for _ in range(5))


def test_after_an_alarm_the_new_rate_is_the_normal_one() -> None:
    drift = Drift()
    alarms(drift, [0.02], 2_000, 4)
    assert len(alarms(drift, [0.4], 4_000, 5)) == 1

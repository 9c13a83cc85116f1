from __future__ import annotations

import pytest

from backend.cache.semantic.evidence import START_LABELS, THRESHOLDS, Evidence, stratum_of


def test_the_grid_descends_and_a_probability_belongs_to_the_strictest_threshold_it_reaches() -> None:
    assert list(THRESHOLDS) == sorted(THRESHOLDS, reverse=True)
    assert (stratum_of(1.0), stratum_of(0.0)) == (0, len(THRESHOLDS))
    for index, threshold in enumerate(THRESHOLDS):
        assert stratum_of(threshold) == index
        assert stratum_of(threshold - 1e-9) == index + 1


def test_each_threshold_counts_the_labels_at_or_above_it_apart_by_weight() -> None:
    evidence = Evidence()
    evidence.add(2, 1.0, wrong=False)
    evidence.add(5, 0.05, wrong=True)
    evidence.add(len(THRESHOLDS), 1.0, wrong=True)
    counts = evidence.counts()
    assert counts.weights.tolist() == [1.0, 0.05]
    assert counts.right[:, 1].tolist() == [0, 0]
    assert counts.right[:, 2:].sum(axis=1).tolist() == [len(THRESHOLDS) - 2, 0]
    assert (counts.wrong[1, 4], counts.wrong[1, 5], counts.wrong[0, -1]) == (0, 1, 0)


@pytest.mark.parametrize("wrong", [False, True])
def test_starts_are_chosen_once_by_the_first_labels_whatever_they_say(wrong: bool) -> None:
    evidence = Evidence()
    for number in range(START_LABELS):
        assert evidence.starts == ()
        evidence.count(number % 10, 1.0, wrong=wrong)
    assert evidence.starts == (1, 3)
    for _ in range(1_000):
        evidence.count(0, 1.0, wrong=wrong)
    assert evidence.starts == (1, 3)


def test_candidates_below_the_grid_give_no_start() -> None:
    evidence = Evidence()
    for _ in range(START_LABELS):
        evidence.count(len(THRESHOLDS), 1.0, wrong=True)
    assert evidence.starts == ()


def test_a_verdict_turned_round_moves_one_label() -> None:
    evidence = Evidence()
    evidence.add(0, 1.0, wrong=False)
    version = evidence.version
    evidence.move(0, 1.0, wrong=True)
    counts = evidence.counts()
    assert (counts.right[0, 0], counts.wrong[0, 0], evidence.labels) == (0, 1, 1)
    assert evidence.version > version


def test_when_errors_rise_everything_starts_anew() -> None:
    evidence = Evidence()
    for _ in range(500):
        evidence.add(8, 1.0, wrong=False)
    while not evidence.age:
        evidence.add(8, 1.0, wrong=True)
        assert evidence.labels <= 520
    assert (evidence.labels, evidence.starts, evidence.counts().right.sum()) == (0, (), 0)

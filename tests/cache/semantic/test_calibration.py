from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.cache.semantic import calibration as module
from backend.cache.semantic.calibration import Calibration, Label
from benchmarks.rig.hit_streams import ATTACK, KINDS, Knobs, best_static, draw, serve, serve_static

KNOBS = Knobs()


def label(number: int, **values: Any) -> Label:
    said: dict[str, Any] = {
        "id": f"call-{number}",
        "at": number,
        "tenant": "t",
        "partition": "aa",
        "similarity": 0.97,
        "probability": 0.99,
        "same": True,
        "source": "exact",
        "propensity": 1.0,
    }
    return Label(**(said | values))


def labels(count: int, start: int = 0, **values: Any) -> list[Label]:
    return [label(number, **values) for number in range(start, start + count)]


def risky(count: int, start: int = 0, every: int = 20, **values: Any) -> list[Label]:
    """Labels of which one in so many is wrong."""
    return [label(n, same=n % every > 0, **values) for n in range(start, start + count)]


def test_it_observes_then_serves_exact_hits_only_then_all_and_says_why() -> None:
    calibration = Calibration(labels(120))
    first = calibration.decide("aa", KNOBS)
    assert (first.state, first.threshold, first.reason) == ("observe", None, "120 of 200 labels")
    for each in labels(180, 120):
        calibration.add(each)
    second = calibration.decide("aa", KNOBS)
    assert (second.state, second.threshold, second.labels) == ("exact only", None, 300)
    assert second.reason.startswith("300 labels, upper bound ")
    assert second.reason.endswith(" % > 1 %: exact hits only")
    for each in labels(600, 300):
        calibration.add(each)
    third = calibration.decide("aa", KNOBS)
    assert (third.state, third.scope, third.labels) == ("serving", "pooled", 900)
    assert third.bound is not None
    assert third.bound <= 0.01
    assert third.serves(0.99)
    assert not third.serves(0.5)
    assert " ≤ 1 %: served from " in third.reason


def test_too_many_errors_keep_it_at_exact_hits() -> None:
    decision = Calibration(risky(3_000)).decide("aa", KNOBS)
    assert (decision.state, decision.threshold) == ("exact only", None)
    assert decision.bound is not None
    assert decision.bound > 0.05


def test_a_laxer_knob_decides_anew_on_the_same_evidence() -> None:
    calibration = Calibration(risky(3_000))
    assert calibration.decide("aa", KNOBS).state == "exact only"
    assert calibration.decide("aa", replace(KNOBS, max_false_hit_rate=0.1)).state == "serving"
    assert calibration.decide("aa", replace(KNOBS, min_labels=5_000)).state == "observe"


def test_the_threshold_stops_where_errors_begin() -> None:
    calibration = Calibration(labels(2_000))
    for each in risky(2_000, 2_000, every=4, probability=0.7):
        calibration.add(each)
    decision = calibration.decide("aa", KNOBS)
    assert decision.threshold is not None
    assert 0.7 < decision.threshold <= 0.99


def test_a_threshold_is_never_served_below_one_that_did_not_pass() -> None:
    mixed = [
        each for n in range(1_000) for each in (*risky(1, n, every=5), *labels(9, 10_000 + 9 * n, probability=0.6))
    ]
    decision = Calibration(mixed).decide("aa", replace(KNOBS, max_false_hit_rate=0.05))
    assert decision.threshold is not None
    assert decision.threshold < 0.61
    risky_at_top = Calibration(
        [each for each in mixed if each.probability > 0.9] + labels(150, 90_000, probability=0.6)
    )
    assert risky_at_top.decide("aa", replace(KNOBS, max_false_hit_rate=0.05)).threshold is None


def test_candidates_that_are_never_probable_are_said_to_be_the_reason() -> None:
    decision = Calibration(labels(400, probability=0.01)).decide("aa", KNOBS)
    assert (decision.state, decision.reason) == (
        "exact only",
        "400 labels, hardly any from 4.7 % probability on: exact hits only",
    )


def test_a_decision_is_remembered_until_something_changes() -> None:
    calibration = Calibration(labels(500))
    decision = calibration.decide("aa", KNOBS)
    assert calibration.decide("aa", Knobs()) is decision
    assert calibration.decide("bb", KNOBS) is decision
    calibration.add(label(500))
    assert calibration.decide("aa", KNOBS) is not decision


def test_the_same_label_twice_counts_once() -> None:
    once, twice = Calibration(labels(700)), Calibration(labels(700) * 2)
    assert once.decide("aa", KNOBS) == twice.decide("aa", KNOBS)


def test_a_person_stands_above_the_machine_and_a_machine_not_above_a_person() -> None:
    calibration = Calibration(labels(900))
    served = calibration.decide("aa", KNOBS)
    for number in range(40):
        calibration.add(label(number, same=False, source="human", propensity=0.0))
    doubted = calibration.decide("aa", KNOBS)
    assert (doubted.state, doubted.labels) == ("exact only", 900)
    for each in labels(40, source="judge"):
        calibration.add(each)
    assert calibration.decide("aa", KNOBS) == doubted
    for each in labels(40, source="human"):
        calibration.add(each)
    assert calibration.decide("aa", KNOBS) == served


def test_hits_picked_by_hand_are_evidence_only_where_they_were_wrong() -> None:
    calibration = Calibration(labels(900))
    before = calibration.decide("aa", KNOBS)
    for each in labels(500, 5_000, source="human", propensity=0.0):
        calibration.add(each)
    assert calibration.decide("aa", KNOBS) is before
    for each in labels(5, 6_000, source="human", propensity=0.0, same=False):
        calibration.add(each)
    after = calibration.decide("aa", KNOBS)
    assert (after.state, after.labels) == ("exact only", 905)


def test_a_manual_threshold_is_served_whatever_the_evidence_and_says_so() -> None:
    manual = replace(KNOBS, threshold_mode="manual", manual_threshold=0.97)
    bare = Calibration().decide("aa", manual)
    assert (bare.state, bare.threshold, bare.scope, bare.bound) == ("serving", 0.97, "manual", None)
    assert bare.reason == "set by hand (no evidence yet)"
    known = Calibration(risky(1_000)).decide("aa", manual)
    assert known.threshold == 0.97
    assert known.bound is not None
    assert "1,000 labels, upper bound" in known.reason


def test_nothing_is_served_below_the_lowest_label() -> None:
    decision = Calibration(labels(2_000)).decide("aa", KNOBS)
    assert decision.threshold is not None
    assert 0.98 < decision.threshold <= 0.99


def test_candidates_are_always_verified_but_hits_only_in_part() -> None:
    serving, observing = Calibration(labels(900)).decide("aa", KNOBS), Calibration().decide("aa", KNOBS)
    assert observing.sampling(0.99, 0.05) == (1.0, 1.0)
    assert serving.sampling(0.99, 0.05) == (0.05, 0.05)
    assert serving.sampling(0.2, 0.05) == (1.0, 0.05)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OWN_LABELS", 1_500)


def test_a_partition_with_evidence_of_its_own_stands_alone_when_the_rest_can_too(small: None) -> None:
    calibration = Calibration()
    for number in range(1_500):
        assert calibration.decide("safe", KNOBS).scope == "pooled"
        for each in (*labels(2, 10_000 + 2 * number, partition="safe"), *risky(1, number, partition="risky")):
            calibration.add(each)
    safe, rest = calibration.decide("safe", KNOBS), calibration.decide("risky", KNOBS)
    assert {safe.scope, rest.scope} == {"partition", "pooled"}
    assert (safe.state, safe.labels) == ("serving", 3_000)
    assert (rest.state, rest.labels) == ("exact only", 1_500)
    assert calibration.decide("unheard of", KNOBS).scope == "pooled"


def test_what_is_revised_later_follows_its_partition(small: None) -> None:
    calibration = Calibration([*labels(3_000, partition="one"), *labels(1_500, 3_000, partition="two")])
    scopes = {name: calibration.decide(name, KNOBS) for name in ("one", "two")}
    assert {decision.scope for decision in scopes.values()} == {"partition", "pooled"}
    for number in range(60):
        calibration.add(label(number, partition="one", same=False, source="human"))
    assert calibration.decide("one", KNOBS).state == "exact only"
    assert calibration.decide("two", KNOBS) is scopes["two"]


def test_all_levels_together_never_exceed_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OWN_LABELS", 10)
    calibration, levels = Calibration(), [1.0]
    pools = {id(calibration._pool): calibration._pool}
    for number in range(2_000):
        calibration.add(label(number, partition=str(number % 40)))
        pools[id(calibration._pool)] = calibration._pool
    levels = [scope.level for scope in (*pools.values(), *calibration._own.values())]
    assert len(calibration._own) > 30
    assert sum(levels) <= 1.0 + 1e-9


def test_when_errors_rise_nothing_is_served_until_new_evidence_suffices() -> None:
    calibration = Calibration(labels(1_500))
    assert calibration.decide("aa", KNOBS).state == "serving"
    number = 1_500
    while calibration.decide("aa", KNOBS).state == "serving":
        calibration.add(label(number, same=False))
        number += 1
    assert number < 1_520
    for each in labels(10, number, same=False):
        calibration.add(each)
    assert "since answers began to differ more often" in calibration.decide("aa", KNOBS).reason
    for each in labels(4_000, 10_000):
        calibration.add(each)
    assert calibration.decide("aa", KNOBS).state == "serving"


@pytest.mark.parametrize("rate", [0.01, 0.02])
def test_simulated_streams_keep_to_the_knob_and_serve_more_than_any_fixed_cosine(rate: float) -> None:
    kinds, within, ours, fixed = [kind for kind in KINDS if kind != ATTACK], [], [], []
    for number in range(18):
        random = np.random.default_rng([number, 77])
        stream = draw(kinds[number % len(kinds)], random, 10_000)
        outcome = serve(stream, replace(KNOBS, max_false_hit_rate=rate), random)
        best = serve_static(stream.cosine, stream.same, best_static(stream.cosine, stream.same, rate))
        within.append(outcome.false_hit_rate <= rate)
        ours.append(outcome.hit_rate)
        fixed.append(best.hit_rate)
    assert np.mean(within) >= 0.9
    assert np.mean(ours) > np.mean(fixed) + 0.05


def test_an_attack_is_noticed_and_ends_the_serving() -> None:
    ours, fixed = [], []
    for seed in range(6):
        random = np.random.default_rng([seed, 5])
        stream = draw(ATTACK, random, 12_000)
        ours.append(serve(stream, KNOBS, random).false_hit_rate)
        fixed.append(serve_static(stream.probability, stream.same, 0.99).false_hit_rate)
    assert np.mean(ours) < np.mean(fixed) / 2

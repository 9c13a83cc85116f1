"""The evidence: the gateway's own decision over the same labels, and what the labels say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from backend.cache.semantic.calibration import Calibration
from backend.cache.semantic.features import read_features, space_of, write_features
from backend.cache.semantic.refit import fold_of
from backend.cache.semantic.verifier import Verifier
from backend.reports.cache_evidence import (
    decide,
    evidence_of,
    labels_over_time,
    labels_summary,
    partitions_table,
    read_curve,
    read_verifier,
)
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.settings.knobs import CacheSettings
from db.cache_labels import write_review
from db.cache_verifiers import VerifierRow, add_verifier
from db.engine import writing
from tests.reports.cache_samples import END_AT, START_AT, make_label, make_labels, write_labels

SETTINGS = CacheSettings()
SPACE = space_of("words")
FEATURES = np.array([0.9, 0.85, 0.8, 0.6, 0.1, 0.2, 0.0, 0.0, 0.0, 0.1, 0.1, 0.0])
STORED = read_features(write_features(SPACE, FEATURES), SPACE)


def test_the_decision_is_the_calibrations(small: Ledger) -> None:
    labels = make_labels(1_500, probability=0.995, share=1.0)
    write_labels(small, *labels)
    made = decide(small, SETTINGS)
    assert made == Calibration(labels).decide("", SETTINGS)
    assert made.state == "serving"


def test_while_evidence_is_scarce_it_says_how_much_is_missing(small: Ledger) -> None:
    assert decide(small, SETTINGS).labels == 0
    write_labels(small, *make_labels(57))
    made = decide(small, SETTINGS)
    assert (made.state, made.labels, made.reason) == ("observe", 57, "57 of 200 labels")


def test_a_review_is_seen_at_once(small: Ledger) -> None:
    labels = make_labels(10)
    write_labels(small, *labels)
    before = labels_summary(small)
    with writing(small.database.engine) as connection:
        write_review(connection, make_label(labels[0].id, same=False, actor="ada"), now_ms=END_AT)
    assert [(each.source, each.labels, each.different) for each in before] == [("by text", 10, 0)]
    assert [(each.source, each.labels, each.different) for each in labels_summary(small)] == [
        ("by text", 10, 0),
        ("by a person", 1, 1),
    ]


def test_labels_about_another_verifier_are_no_evidence(small: Ledger) -> None:
    old = [make_label(f"old-{number}", at=START_AT - 1, verifier="old") for number in range(300)]
    write_labels(small, *old, *make_labels(20))
    assert decide(small, SETTINGS).labels == 20


def test_the_manual_threshold_is_served_whatever_the_evidence(small: Ledger) -> None:
    made = decide(small, SETTINGS.model_copy(update={"threshold_mode": "manual", "manual_threshold": 0.9}))
    assert (made.state, made.threshold, made.scope) == ("serving", 0.9, "manual")


def test_partitions_come_with_their_labels_and_decisions(small: Ledger) -> None:
    write_labels(small, *make_labels(30, wrong=3), make_label("z", at=START_AT, partition="aa" * 16, tenant="other"))
    frame = partitions_table(small, SETTINGS)
    said = frame[["partition", "tenant", "model", "labels", "different", "state", "scope"]].to_numpy().tolist()
    assert said == [
        ["0f" * 16, "default", "model-1", 30, 3, "observe", "pooled"],
        ["aa" * 16, "other", "model-1", 1, 0, "observe", "pooled"],
    ]


def test_the_curve_sets_what_was_said_against_what_came_true(small: Ledger) -> None:
    assert read_curve(small).empty
    sure = [make_label(f"s{number}", probability=0.99) for number in range(100)]
    unsure = [make_label(f"u{number}", probability=0.4, same=number < 40) for number in range(100)]
    write_labels(small, *sure, *unsure)
    curve = read_curve(small)
    assert curve["labels"].sum() == 200
    assert curve["probability"].is_monotonic_increasing
    assert ((curve["low"] <= curve["same"]) & (curve["same"] <= curve["high"])).all()
    low, high = curve[curve["probability"] < 0.5], curve[curve["probability"] > 0.5]
    assert (low["same"] * low["labels"]).sum() / low["labels"].sum() == pytest.approx(0.4)
    assert set(high["same"]) == {1.0}


def test_labels_are_counted_over_time_by_what_they_say(small: Ledger) -> None:
    scope = Scope(START_AT, END_AT)
    assert labels_over_time(small, scope).groups == ()
    write_labels(small, *make_labels(100, wrong=10))
    over = labels_over_time(small, scope)
    assert over.groups == ("same answer", "different answer")
    assert over.frame.groupby("group")["value"].sum().to_dict() == {"same answer": 90, "different answer": 10}
    assert over.frame.loc[over.frame["at"] == START_AT, "value"].tolist() == [90, 10]


def test_the_shipped_verifier_is_in_use_until_a_refit_proves_better(small: Ledger) -> None:
    write_labels(small, *make_labels(12, features=write_features(SPACE, FEATURES)))
    found = read_verifier(small)
    assert (found.name, found.waiting, found.last) == (Verifier.default().name, None, None)
    assert (found.featured, found.next_at) == (12, 400)


def test_labels_are_scored_anew_by_the_refit_in_use(small: Ledger) -> None:
    fit = Verifier.default().fit
    kept = [label for label in make_labels(40, features=write_features(SPACE, FEATURES)) if fold_of(label.id) == 3]
    write_labels(small, *kept)
    numbers = json.dumps(replace(fit, intercept=fit.intercept + 1).dump())
    row = VerifierRow(SPACE, 1, "refitted-1", "shipped", numbers, END_AT, END_AT, 500, 120, 0.05, 0.02, adopted=True)
    with writing(small.database.engine) as connection:
        assert add_verifier(connection, row)
        assert not add_verifier(connection, replace(row, name="too late"))
    found = read_verifier(small)
    assert (found.name, found.last, found.next_at) == ("refitted-1", row, 1_000)
    assert decide(small, SETTINGS).labels == len(kept) > 0
    with small.read() as connection:
        evidence = evidence_of(small, connection)
    assert {label.probability for label in evidence.labels} == {evidence.verifier.estimate(np.asarray(STORED))}
    assert evidence.since_at == END_AT


def test_refits_of_another_space_are_not_in_use(small: Ledger) -> None:
    write_labels(small, *make_labels(12, features=write_features(SPACE, FEATURES)))
    numbers = json.dumps(Verifier.default().fit.dump())
    row = VerifierRow("00000000", 1, "other", "shipped", numbers, 1, 1, 500, 120, 0.05, 0.02, adopted=True)
    with writing(small.database.engine) as connection:
        add_verifier(connection, row)
    assert read_verifier(small).name == Verifier.default().name

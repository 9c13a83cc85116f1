"""The feed: follows the labels, takes up refits, and never ends a service that works."""

from __future__ import annotations

import json
from dataclasses import replace

from backend.cache.semantic.feed import Feed, read_verifiers_of
from backend.cache.semantic.refit import EVIDENCE, fold_of, try_refit
from backend.settings.knobs import CacheSettings
from tests.cache.semantic.place import FakeRecords
from tests.cache.semantic.test_refit import SETTINGS, SHIPPED, SPACE, make_labels


def test_the_feed_refits_when_labels_suffice_and_counts_anew() -> None:
    records = FakeRecords(make_labels(1_600, surprising=True))
    feed = Feed(records, SHIPPED, SPACE, lambda: SETTINGS)
    feed.add(feed.read())
    assert (feed.verifier.name, feed.featured) == (SHIPPED.name, 1_600)
    feed.add(feed.read())
    assert feed.verifier.name == records.fits[0].name
    assert feed.calibration.decide("", SETTINGS).labels == sum(
        fold_of(label.id) in EVIDENCE for label in records.labels
    )
    feed.add(feed.read())
    assert len(records.fits) == 1


def test_a_verifier_that_serves_goes_on_until_its_refit_may_serve_too() -> None:
    labels = make_labels(2_400, surprising=True)
    sure = [replace(label, id=f"sure-{n}", same=True, probability=0.9999) for n, label in enumerate(labels)]
    records = FakeRecords([*sure, *labels])
    feed = Feed(records, SHIPPED, SPACE, lambda: CacheSettings(max_false_hit_rate=0.3))
    feed.add(feed.read())
    assert feed.calibration.decide("", CacheSettings(max_false_hit_rate=0.3)).state == "serving"
    fitted = try_refit(labels, SHIPPED, SPACE, [])
    assert fitted is not None
    records.fits.append(replace(fitted, fitted_until=10_000, adopted=True, generation=9, labels=10_000))
    records.labels = [label for label in records.labels if fold_of(label.id) not in EVIDENCE]
    feed.add(feed.read())
    assert feed.verifier.name == SHIPPED.name
    assert feed.waiting is not None
    assert feed.waiting.name == fitted.name


def test_a_second_refit_that_waits_too_leaves_the_one_that_serves_in_place() -> None:
    fitted = try_refit(make_labels(1_600, surprising=True), SHIPPED, SPACE, [])
    assert fitted is not None
    first = replace(fitted, name="first", adopted=True, generation=1)
    second = replace(fitted, name="second", adopted=True, generation=2)
    assert second.replaces == SHIPPED.name
    assert [each.name for each in read_verifiers_of([first, second], SHIPPED)] == [SHIPPED.name, "second"]
    third = replace(fitted, name="third", replaces="second", adopted=True, generation=3)
    assert [each.name for each in read_verifiers_of([first, second, third], SHIPPED)] == ["second", "third"]


def test_a_fit_that_cannot_be_read_changes_nothing() -> None:
    row = try_refit(make_labels(1_600, surprising=True), SHIPPED, SPACE, [])
    assert row is not None
    for broken in ("", "{}", json.dumps({"curves": 3, "intercept": "x"})):
        records = FakeRecords([], [replace(row, numbers=broken, adopted=True)])
        feed = Feed(records, SHIPPED, SPACE, lambda: SETTINGS)
        feed.add(feed.read())
        assert feed.verifier is SHIPPED

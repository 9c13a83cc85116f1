"""Counters and histograms: what they count is what Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from backend.metrics.families import Buckets, Family

BOUNDS = (0.1, 0.5, 1.0, 5.0)
VALUES = st.lists(st.floats(0, 10) | st.sampled_from(BOUNDS), max_size=50)


@given(VALUES)
def test_a_value_falls_in_the_first_bucket_that_holds_it(values: list[float]) -> None:
    buckets = Buckets(BOUNDS)
    for value in values:
        buckets.observe(value)
    for index, bound in enumerate(BOUNDS):
        assert sum(buckets.counts[: index + 1]) == sum(value <= bound for value in values)
    assert sum(buckets.counts) == len(values)
    assert buckets.counts[-1] == sum(bisect_left(BOUNDS, value) == len(BOUNDS) for value in values)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_merged_histograms_are_the_histogram_of_all(parts: list[list[float]]) -> None:
    families = [Family("f", "text", ("a",), BOUNDS) for _ in parts]
    whole = Family("f", "text", ("a",), BOUNDS)
    for family, values in zip(families, parts, strict=True):
        for value in values:
            family.child("x").observe(value)
            whole.child("x").observe(value)
    merged = families[0].merged([family.snapshot() for family in families])
    alone = whole.merged([whole.snapshot()])
    assert [(s.name, s.labels) for s in merged.samples] == [(s.name, s.labels) for s in alone.samples]
    for one, other in zip(merged.samples, alone.samples, strict=True):
        assert abs(one.value - other.value) < 1e-6


def test_buckets_are_cumulative_and_end_with_everything() -> None:
    family = Family("f", "text", (), BOUNDS)
    for value in (0.05, 0.1, 0.7, 99):
        family.child().observe(value)
    samples = {s.labels.get("le"): s.value for s in family.merged([family.snapshot()]).samples if s.name == "f_bucket"}
    assert samples == {"0.1": 2, "0.5": 2, "1.0": 3, "5.0": 3, "+Inf": 4}

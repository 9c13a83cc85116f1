"""Percentiles out of logarithmic buckets: right within 2 %, whatever the number of calls."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from db.tables import LATENCY_BASE

QUANTILES: Mapping[str, float] = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of a duration in milliseconds; none without calls."""

    calls: int = 0
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


def bucket_middle_ms(bucket: int) -> float:
    """The geometric middle of a bucket, in milliseconds."""
    return float(LATENCY_BASE ** (bucket + 0.5))


def bucket_start_ms(bucket: int) -> float:
    """Where a bucket begins, in milliseconds."""
    return float(LATENCY_BASE**bucket)


def percentiles_of(counts: Mapping[int, int]) -> Percentiles:
    """Percentiles of calls counted per bucket."""
    calls = sum(counts.values())
    if not calls:
        return Percentiles()
    buckets = sorted(counts)
    reached = list(accumulate(counts[bucket] for bucket in buckets))
    ranks = (math.ceil(calls * share) for share in QUANTILES.values())
    return Percentiles(calls, *(bucket_middle_ms(buckets[bisect_left(reached, rank)]) for rank in ranks))

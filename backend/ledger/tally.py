"""What calls add to the rollups: sums per hour and day, and counts per latency bucket. Each call once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from operator import add, itemgetter
from typing import Any

from db.columns import places
from db.tables import (
    LATENCY_BASE,
    LATENCY_DIMENSIONS,
    LATENCY_FLOOR_MS,
    LATENCY_MEASURES,
    MEASURES,
    ROLLUP_DIMENSIONS,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Row = tuple[Any, ...]
Sums = dict[tuple[Any, ...], tuple[int, ...]]

_STATUSES = ["failed", "refused", "cancelled"]
_COUNTS = ["calls", *_STATUSES, "unpriced", "estimated"]
_outcome_of = itemgetter(*places(["started_at", "state", "status", "cost_nusd"]))
_amounts_of = itemgetter(*places([name for name in MEASURES if name not in _COUNTS]))
_dimensions_of = itemgetter(*places(ROLLUP_DIMENSIONS))
_user_of = itemgetter(*places(["user"]))
_latency_of = itemgetter(*places(LATENCY_DIMENSIONS))
_durations_of = itemgetter(*places(LATENCY_MEASURES))
_SCALE = math.log(LATENCY_BASE)


def bucket_of(duration_ms: float) -> int:
    """The logarithmic bucket of a duration in milliseconds."""
    return math.floor(math.log(max(duration_ms, LATENCY_FLOOR_MS)) / _SCALE)


class Tally:
    """Sums up closed calls until the transaction that writes them."""

    def __init__(self) -> None:
        self._sums: Sums = {}
        self._users: Sums = {}
        self._latencies: Counter[tuple[Any, ...]] = Counter()

    def add(self, row: Row) -> None:
        """Count a call that has just been closed."""
        self._count(row, 1)

    def take_back(self, row: Row) -> None:
        """Undo what a call given up as unknown had added, because its true end is known now."""
        self._count(row, -1)

    def sums(self) -> dict[str, Mapping[tuple[Any, ...], tuple[int, ...]]]:
        """What to add to each rollup table, by its name."""
        latencies: Sums = {key: (count,) for key, count in self._latencies.items()}
        hourly: dict[str, Sums] = {
            "rollups": self._sums,
            "dimension_rollups": {**_by_dimension(self._sums), **self._users},
            "latency_rollups": latencies,
            "latency_totals": _by_cache_kind(latencies),
        }
        daily = {f"daily_{name}": _by_day(sums, name != "rollups") for name, sums in hourly.items()}
        return {**hourly, **daily}

    def _count(self, row: Row, sign: int) -> None:
        started_at, state, status, cost_nusd = _outcome_of(row)
        hour_at = started_at - started_at % HOUR_MS
        counts = (1, *[status == each for each in _STATUSES], cost_nusd is None, state == "estimated")
        amounts = tuple(sign * (each or 0) for each in (*counts, *_amounts_of(row)))
        _accumulate(self._sums, (hour_at, *_known(_dimensions_of(row))), amounts)
        _accumulate(self._users, ("user", hour_at, _user_of(row) or ""), amounts)
        where = _known(_latency_of(row))
        for measure, duration_ms in zip(LATENCY_MEASURES, _durations_of(row), strict=True):
            if duration_ms is not None:
                self._latencies[measure, hour_at, *where, bucket_of(duration_ms)] += sign


def _known(values: Iterable[Any]) -> list[Any]:
    return [value or "" for value in values]


def _accumulate(sums: Sums, key: tuple[Any, ...], amounts: tuple[int, ...]) -> None:
    have = sums.get(key)
    sums[key] = amounts if have is None else tuple(map(add, have, amounts))


def _by_dimension(sums: Sums) -> Sums:
    """Sums per single dimension, and of all calls under the dimension ``""``."""
    singles: Sums = {}
    for (hour_at, *values), amounts in sums.items():
        _accumulate(singles, ("", hour_at, ""), amounts)
        for dimension, value in zip(ROLLUP_DIMENSIONS, values, strict=True):
            _accumulate(singles, (dimension, hour_at, value), amounts)
    return singles


def _by_cache_kind(latencies: Sums) -> Sums:
    """Latency counts whatever the model and the deployment."""
    totals: Sums = {}
    for (measure, hour_at, _, _, cache_kind, bucket), amounts in latencies.items():
        _accumulate(totals, (measure, hour_at, cache_kind, bucket), amounts)
    return totals


def _by_day(sums: Sums, place: int) -> Sums:
    """The same per day; ``place`` is where the hour stands in the keys."""
    days: Sums = {}
    for key, amounts in sums.items():
        at = key[place] - key[place] % DAY_MS
        _accumulate(days, (*key[:place], at, *key[place + 1 :]), amounts)
    return days

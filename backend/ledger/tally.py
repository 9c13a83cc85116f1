"""What calls add to the rollups: sums per hour and day, and counts per latency bucket. Each call once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import floor, log
from operator import add, itemgetter
from typing import Any

from db.columns import places
from db.failures import RowsRefused
from db.measures import shorten
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
MOST = 2**53
"""Largest sum taken for real: nine million dollars or nine quadrillion tokens in one batch are a broken record."""

Row = tuple[Any, ...]
Key = tuple[Any, ...]
Sums = dict[Key, tuple[int, ...]]

_HITS = {"exact", "semantic"}
_LOOKUPS = {*_HITS, "miss", "coalesced"}
_COUNTS = ["calls", "failed", "refused", "cancelled", "unpriced", "estimated", "cache_hits", "cache_lookups"]
_STARTED_AT = places(["started_at"])[0]
_outcome_of = itemgetter(*places(["state", "status", "cost_nusd", "cache_kind"]))
_amounts_of = itemgetter(*places([name for name in MEASURES if name not in _COUNTS]))
_dimensions_of = itemgetter(*places(ROLLUP_DIMENSIONS))
_user_of = itemgetter(*places(["user"]))
_latency_of = itemgetter(*places(LATENCY_DIMENSIONS))
_durations_of = itemgetter(*places(LATENCY_MEASURES))
_SCALE = log(LATENCY_BASE)
_FIRST_BUCKET = floor(log(LATENCY_FLOOR_MS) / _SCALE)


def bucket_of(duration_ms: float) -> int:
    """The logarithmic bucket of a duration in milliseconds."""
    return floor(log(duration_ms) / _SCALE) if duration_ms > LATENCY_FLOOR_MS else _FIRST_BUCKET


class _Names(dict[str | None, str]):
    """A dimension's values as keys: unknown is the empty string, a long one is cut."""

    def __missing__(self, value: str | None) -> str:
        self[value] = name = shorten(value or "")
        return name


class Tally:
    """Gathers closed calls by key, and sums them up once for the transaction that writes them."""

    def __init__(self) -> None:
        self._name = _Names().__getitem__
        self._amounts: dict[Key, list[tuple[int, ...]]] = defaultdict(list)
        self._users: dict[Key, list[tuple[int, ...]]] = defaultdict(list)
        self._durations: dict[Key, list[Row]] = defaultdict(list)
        self._undone: dict[Key, list[Row]] = defaultdict(list)

    def add(self, row: Row) -> None:
        """Count a call that has just been closed."""
        self._gather(row, _contribution(row), self._durations)

    def take_back(self, row: Row) -> None:
        """Undo what a call given up as unknown had added, because its true end is known now."""
        self._gather(row, tuple(-each for each in _contribution(row)), self._undone)

    def sums(self) -> dict[str, Sums]:
        """What to add to each rollup table, by its name. Raises ``RowsRefused`` for sums no real calls can have."""
        totals, users = _sum_up(self._amounts), _sum_up(self._users)
        if any(abs(amount) > MOST for amounts in totals.values() for amount in amounts):
            raise RowsRefused("amounts that no real call has")
        latencies = _count(self._durations, 1)
        _merge(latencies, _count(self._undone, -1).items())
        hourly: dict[str, Sums] = {
            "rollups": totals,
            "dimension_rollups": {**_by_dimension(totals), **users},
            "latency_rollups": latencies,
            "latency_totals": _by_cache_kind(latencies),
        }
        daily = {f"daily_{name}": _by_day(sums, name != "rollups") for name, sums in hourly.items()}
        return {**hourly, **daily}

    def _gather(self, row: Row, amounts: tuple[int, ...], durations: dict[Key, list[Row]]) -> None:
        name, started_at = self._name, row[_STARTED_AT]
        hour_at = started_at - started_at % HOUR_MS
        self._amounts[hour_at, *map(name, _dimensions_of(row))].append(amounts)
        self._users["user", hour_at, name(_user_of(row))].append(amounts)
        durations[hour_at, *map(name, _latency_of(row))].append(_durations_of(row))


def _contribution(row: Row) -> tuple[int, ...]:
    """What one call adds, in the order of the measures."""
    state, status, cost_nusd, cache_kind = _outcome_of(row)
    return (
        1,
        status == "failed",
        status == "refused",
        status == "cancelled",
        cost_nusd is None,
        state == "estimated",
        cache_kind in _HITS,
        cache_kind in _LOOKUPS,
        *[each or 0 for each in _amounts_of(row)],
    )


def _sum_up(gathered: Mapping[Key, list[tuple[int, ...]]]) -> Sums:
    """Column by column."""
    return {key: tuple(map(sum, zip(*rows, strict=True))) for key, rows in gathered.items()}


def _count(gathered: Mapping[Key, list[Row]], sign: int) -> Sums:
    counts: Sums = {}
    for (hour_at, *where), rows in gathered.items():
        for measure, column in zip(LATENCY_MEASURES, zip(*rows, strict=True), strict=True):
            buckets = Counter([bucket_of(each) for each in column if each is not None])
            counts.update({(measure, hour_at, *where, bucket): (sign * n,) for bucket, n in buckets.items()})
    return counts


def _merge(sums: Sums, more: Iterable[tuple[Key, tuple[int, ...]]]) -> None:
    for key, amounts in more:
        have = sums.get(key)
        sums[key] = amounts if have is None else tuple(map(add, have, amounts))


def _by_dimension(sums: Sums) -> Sums:
    """Sums per single dimension, and of all calls under the dimension ``""``."""
    singles: Sums = {}
    for (hour_at, *values), amounts in sums.items():
        keys = zip(("", *ROLLUP_DIMENSIONS), ("", *values), strict=True)
        _merge(singles, (((dimension, hour_at, value), amounts) for dimension, value in keys))
    return singles


def _by_cache_kind(latencies: Sums) -> Sums:
    """Latency counts whatever the model and the deployment."""
    totals: Sums = {}
    for (measure, hour_at, _, _, cache_kind, bucket), amounts in latencies.items():
        _merge(totals, [((measure, hour_at, cache_kind, bucket), amounts)])
    return totals


def _by_day(sums: Sums, place: int) -> Sums:
    """The same per day; ``place`` is where the hour stands in the keys."""
    days: Sums = {}
    for key, amounts in sums.items():
        day_at = key[place] - key[place] % DAY_MS
        _merge(days, [((*key[:place], day_at, *key[place + 1 :]), amounts)])
    return days

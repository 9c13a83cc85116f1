"""What calls add to the rollups: sums per hour and day, and counts per latency bucket. Each call once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from operator import add, itemgetter
from typing import Any

from db.columns import places
from db.failures import RowsRefused
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
LONGEST_VALUE = 120
"""Characters of a dimension's value in a rollup."""

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
_SCALE = math.log(LATENCY_BASE)


def bucket_of(duration_ms: float) -> int:
    """The logarithmic bucket of a duration in milliseconds."""
    return math.floor(math.log(max(duration_ms, LATENCY_FLOOR_MS)) / _SCALE)


class Tally:
    """Gathers closed calls by key, and sums them up once for the transaction that writes them."""

    def __init__(self) -> None:
        self._amounts: dict[Key, list[Row]] = defaultdict(list)
        self._users: dict[Key, list[Row]] = defaultdict(list)
        self._durations: dict[Key, list[Row]] = defaultdict(list)
        self._undone: dict[Key, list[Row]] = defaultdict(list)

    def add(self, row: Row) -> None:
        """Count a call that has just been closed."""
        self._gather(row, _contribution(row))
        self._durations[_hour_of(row), *_latency_of(row)].append(_durations_of(row))

    def take_back(self, row: Row) -> None:
        """Undo what a call given up as unknown had added, because its true end is known now."""
        self._gather(row, tuple(each and -each for each in _contribution(row)))
        self._undone[_hour_of(row), *_latency_of(row)].append(_durations_of(row))

    def sums(self) -> dict[str, Sums]:
        """What to add to each rollup table, by its name. Raises ``RowsRefused`` for sums no real calls can have."""
        totals, users = _sum_up(self._amounts), _sum_up(self._users)
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

    def _gather(self, row: Row, amounts: Row) -> None:
        hour_at = _hour_of(row)
        self._amounts[hour_at, *_dimensions_of(row)].append(amounts)
        self._users["user", hour_at, _user_of(row)].append(amounts)


def _hour_of(row: Row) -> int:
    started_at: int = row[_STARTED_AT]
    return started_at - started_at % HOUR_MS


def _contribution(row: Row) -> Row:
    """What one call adds, in the order of the measures; none where an amount is unknown."""
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
        *_amounts_of(row),
    )


def _sum_up(gathered: Mapping[Key, list[Row]]) -> Sums:
    """Column by column, unknown amounts left out; unknown dimensions are the empty string."""
    sums: Sums = {}
    for key, rows in gathered.items():
        amounts = tuple(sum(filter(None, column)) for column in zip(*rows, strict=True))
        if max(map(abs, amounts)) > MOST:
            raise RowsRefused("amounts that no real call has")
        _merge(sums, [(_known(key), amounts)])
    return sums


def _count(gathered: Mapping[Key, list[Row]], sign: int) -> Sums:
    counts: Sums = {}
    for (hour_at, *where), rows in gathered.items():
        for measure, column in zip(LATENCY_MEASURES, zip(*rows, strict=True), strict=True):
            buckets = Counter(bucket_of(duration_ms) for duration_ms in column if duration_ms is not None)
            keyed = [(_known((measure, hour_at, *where, bucket)), (sign * n,)) for bucket, n in buckets.items()]
            _merge(counts, keyed)
    return counts


def _known(key: Key) -> Key:
    return tuple("" if each is None else _short(each) if isinstance(each, str) else each for each in key)


def _short(value: str) -> str:
    """A name a caller made up may be long; Postgres takes no key beyond 2.7 kB, so a long one ends in its digest."""
    if len(value) <= LONGEST_VALUE:
        return value
    digest = blake2b(value.encode(), digest_size=8).hexdigest()
    return f"{value[: LONGEST_VALUE - 17]}…{digest}"


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

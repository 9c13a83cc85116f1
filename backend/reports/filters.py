"""One range, one set of filters, one comparison for every page: the scope of a report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backend.reports.ledger import Ledger
from backend.reports.names import name_of, read_names
from db.call_reads import read_values
from db.rollup_reads import Grouping, read_sums, source_of
from db.windows import DAY_MS, HOUR_MS, MINUTE_MS, Narrowing, Window, ceil_to, floor_to

PRESETS: Mapping[str, int] = {
    "5m": 5 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "3h": 3 * HOUR_MS,
    "24h": DAY_MS,
    "7d": 7 * DAY_MS,
    "30d": 30 * DAY_MS,
    "90d": 90 * DAY_MS,
}
"""Lengths of the ready-made ranges, in milliseconds."""

DIMENSIONS: Mapping[str, str] = {
    "model": "Model",
    "provider": "Provider",
    "deployment": "Deployment",
    "key_id": "Key",
    "user": "User",
    "feature": "Feature",
    "department": "Department",
    "environment": "Environment",
    "cache_kind": "Cache",
    "status": "Status",
    "origin": "Origin",
    "rule": "Rule",
}
"""What calls can be filtered and grouped by, in the order of every chooser, with its title."""

_MINUTES_UP_TO_MS = 3 * HOUR_MS
_HOURS_UP_TO_MS = 14 * DAY_MS
LONGEST_MS = 3 * 366 * DAY_MS


@dataclass(frozen=True, slots=True)
class Scope:
    """Calls from ``start_at`` to before ``end_at`` (epoch ms, UTC, on bucket borders) that pass the filters."""

    start_at: int
    end_at: int
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compare: bool = True
    as_of: int | None = None
    """When the scope was made (epoch ms): the last bucket is partial while this lies inside it."""

    @property
    def length_ms(self) -> int:
        """Length of the range."""
        return self.end_at - self.start_at

    @property
    def bucket_ms(self) -> int:
        """Length of one bucket: minutes up to 3 h, hours up to 14 d, then days."""
        return bucket_of(self.length_ms)

    @property
    def buckets(self) -> tuple[int, ...]:
        """Start of every bucket (epoch ms), empty ones included."""
        return tuple(range(floor_to(self.start_at, self.bucket_ms), self.end_at, self.bucket_ms))

    @property
    def partial_last(self) -> bool:
        """Whether the last bucket is still filling."""
        return self.as_of is not None and self.end_at - self.bucket_ms <= self.as_of < self.end_at

    @property
    def window(self) -> Window:
        """The scope as the database reads it."""
        return Window(self.start_at, self.end_at, self.filters)

    @property
    def previous(self) -> Window:
        """As much time as has passed of this range, directly before it (like compared with like)."""
        passed_end = min(self.end_at, self.as_of) if self.as_of is not None else self.end_at
        return Window(self.start_at - self.length_ms, max(passed_end, self.start_at) - self.length_ms, self.filters)

    @property
    def cache_key(self) -> str:
        """A string that is equal for equal scopes, for caches."""
        chosen = sorted((name, tuple(sorted(values))) for name, values in self.filters.items())
        return f"{self.start_at}-{self.end_at}-{self.compare}-{chosen}"

    def narrowed(self, dimension: str, *values: str) -> Scope:
        """The scope with one more filter (or the same dimension's filter replaced); no values remove it."""
        kept = {name: chosen for name, chosen in self.filters.items() if name != dimension}
        return replace(self, filters={**kept, **({dimension: values} if values else {})})

    def zoomed(self, start_at: int, end_at: int) -> Scope:
        """The same filters over another range, widened to whole buckets."""
        return make_scope(start_at, end_at, self.filters, compare=self.compare)


@dataclass(frozen=True, slots=True)
class FilterValue:
    """One choice of a filter: the value stored, the name shown, how many calls have it."""

    value: str
    name: str
    calls: int


def bucket_of(length_ms: int) -> int:
    """The bucket for a range of this length, in milliseconds."""
    if length_ms <= _MINUTES_UP_TO_MS:
        return MINUTE_MS
    return HOUR_MS if length_ms <= _HOURS_UP_TO_MS else DAY_MS


def preset_scope(
    preset: str,
    filters: Mapping[str, tuple[str, ...]] | None = None,
    *,
    compare: bool = True,
    now_at: int | None = None,
) -> Scope:
    """A ready-made range whose last bucket is the one now filling (``now_at``, epoch ms). Raises ``KeyError``."""
    now_at = time.time_ns() // 1_000_000 if now_at is None else now_at
    length_ms = PRESETS[preset]
    end_at = ceil_to(now_at + 1, bucket_of(length_ms))
    return Scope(end_at - length_ms, end_at, known_filters(filters or {}), compare, now_at)


def make_scope(
    start_at: int,
    end_at: int,
    filters: Mapping[str, tuple[str, ...]] | None = None,
    *,
    compare: bool = True,
    now_at: int | None = None,
) -> Scope:
    """A custom range, widened to whole buckets. Raises ``ValueError`` when it ends before it starts or is too long."""
    if not 0 <= start_at < end_at or end_at - start_at > LONGEST_MS:
        raise ValueError("a range starts before it ends and spans at most three years")
    for step in (MINUTE_MS, HOUR_MS, DAY_MS):
        first, last = floor_to(start_at, step), ceil_to(end_at, step)
        if bucket_of(last - first) == step:  # widening may make a range long enough for the next bucket
            break
    return Scope(first, last, known_filters(filters or {}), compare, now_at)


def known_filters(filters: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The filters that exist and choose something; others (an old link, a typo) are dropped."""
    return {name: tuple(values) for name, values in filters.items() if name in DIMENSIONS and values}


def filter_values(ledger: Ledger, scope: Scope, dimension: str, limit: int = 200) -> tuple[FilterValue, ...]:
    """What a filter can be set to under the scope's other filters, most frequent first."""
    others = scope.narrowed(dimension).window
    with ledger.read() as connection:
        if source_of(others, [dimension]) == "calls":
            counted = read_values(connection, others, dimension, limit)
        else:
            by = Grouping((dimension,), measures=("calls",))
            counted = [(each.values[0], each.measures["calls"]) for each in read_sums(connection, others, by)]
        names = read_names(connection)
    ranked = sorted(counted, key=lambda pair: (-pair[1], pair[0]))[:limit]
    return tuple(FilterValue(value, name_of(dimension, value, names), calls) for value, calls in ranked)


__all__ = [
    "DIMENSIONS",
    "PRESETS",
    "FilterValue",
    "Narrowing",
    "Scope",
    "bucket_of",
    "filter_values",
    "known_filters",
    "make_scope",
    "preset_scope",
]

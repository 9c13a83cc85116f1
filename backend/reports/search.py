"""Where to look for calls: the newest hours that hold some first, and never longer than a person waits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from db.bounded import Connection
from db.call_reads import read_open_times
from db.rollup_reads import Grouping, read_sums
from db.tables import ROLLUP_DIMENSIONS
from db.windows import DAY_MS, HOUR_MS, WIDE, Window, floor_to

PATIENCE_MS = 1_500
_QUICK_MS = 100
_AT_ONCE = 5_000


@dataclass(slots=True)
class Patience:
    """How long a search goes on before it shows what it has."""

    limit_ms: float = PATIENCE_MS
    started: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether to stop here."""
        return (time.monotonic() - self.started) * 1000 >= self.limit_ms


def stretches(connection: Connection, window: Window) -> Iterator[Window]:
    """Parts of a window, newest first, that together hold every call in it that can match."""
    if not window.dimensions or window.narrowing.call_id:
        yield window  # every call matches, or the index of ids finds the few that do
        return
    guide = _guide(window)
    yield from _known(connection, window, guide) if guide.filters else _widening(window)


def _guide(window: Window) -> Window:
    """The filters that rollups can answer; a call that passes all filters passes these."""
    if "user" in window.filters:
        filters = {"user": window.filters["user"]}
    else:
        filters = {name: values for name, values in window.filters.items() if name in ROLLUP_DIMENSIONS}
    return replace(window, filters=filters, narrowing=WIDE)


def _known(connection: Connection, window: Window, guide: Window) -> Iterator[Window]:
    """The days, and within busy days the hours, in which rollups count a matching call or one is still open."""
    open_at = read_open_times(connection, window)
    days = {floor_to(at, DAY_MS) for at in open_at} | _counts(connection, guide, DAY_MS).keys()
    everything = _counts(connection, replace(guide, filters={}), DAY_MS)
    for first, last in _runs(sorted(days, reverse=True), everything):
        if first == last and everything.get(first, 0) > _AT_ONCE:
            hours = {floor_to(at, HOUR_MS) for at in open_at if first <= at < first + DAY_MS}
            hours |= _counts(connection, _part(guide, first, DAY_MS), HOUR_MS).keys()
            yield from (_part(window, hour, HOUR_MS) for hour in sorted(hours, reverse=True))
        else:
            yield _part(window, first, last - first + DAY_MS)


def _runs(days: list[int], calls: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Days (newest first) in runs, first and last, that are read at once because they hold few calls of any kind."""
    while days:
        first = last = days[0]
        held, taken = calls.get(last, 0), 1
        for day in days[1:]:
            held += sum(calls.get(each, 0) for each in range(day, first, DAY_MS))
            if held > _AT_ONCE:
                break
            first, taken = day, taken + 1
        yield first, last
        days = days[taken:]


def _counts(connection: Connection, guide: Window, bucket_ms: int) -> dict[int, int]:
    rows = read_sums(connection, guide, Grouping((), bucket_ms, ("calls",)))
    return {row.at: row.measures["calls"] for row in rows if row.at is not None}


def _part(window: Window, start_at: int, length_ms: int) -> Window:
    return window.between(max(window.start_at, start_at), min(window.end_at, start_at + length_ms))


def _widening(window: Window) -> Iterator[Window]:
    """Stretches of time that grow while they are read quickly."""
    end_at, length_ms = window.end_at, HOUR_MS
    while end_at > window.start_at:
        start_at = max(window.start_at, end_at - length_ms)
        began = time.monotonic()
        yield window.between(start_at, end_at)
        quick = (time.monotonic() - began) * 1000 < _QUICK_MS
        end_at, length_ms = start_at, length_ms * 2 if quick else max(length_ms // 2, HOUR_MS)

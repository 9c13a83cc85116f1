"""Half-open windows of time, and the coarsest tables that cover them exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

Grain = Literal["call", "hour", "day"]


STEPS_MS: Mapping[Grain, int] = {"call": 1, "hour": HOUR_MS, "day": DAY_MS}
"""How much time one row of a grain stands for."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Conditions that only the calls themselves can answer."""

    call_id: str | None = None
    """The beginning of a call's id."""
    text: str | None = None
    """Another id: of the session, of the trace, the idempotency key."""
    job_id: str | None = None
    """The batch job whose lines the calls are, as a tag of theirs says."""
    error_codes: tuple[str, ...] = ()
    min_cost_nusd: int | None = None
    min_latency_ms: float | None = None


WIDE = Narrowing()


@dataclass(frozen=True, slots=True)
class Window:
    """Calls with ``start_at <= started_at < end_at`` (epoch ms, UTC) whose dimensions have one of the values named."""

    start_at: int
    end_at: int
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    narrowing: Narrowing = WIDE

    @property
    def dimensions(self) -> frozenset[str]:
        """Dimensions that the filters need; ``id`` stands for what no rollup knows."""
        return frozenset(self.filters) | ({"id"} if self.narrowing != WIDE else set())

    def between(self, start_at: int, end_at: int) -> Window:
        """The same filters over another time."""
        return replace(self, start_at=start_at, end_at=end_at)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a window that one grain covers without a remainder."""

    grain: Grain
    start_at: int
    end_at: int


def floor_to(at: int, step: int) -> int:
    """The last multiple of ``step`` at or before ``at``."""
    return at - at % step


def ceil_to(at: int, step: int) -> int:
    """The first multiple of ``step`` at or after ``at``."""
    return floor_to(at + step - 1, step)


def segments(window: Window, bucket_ms: int | None = None) -> list[Segment]:
    """The window cut into days, hours and the calls at its edges; nothing coarser than ``bucket_ms``."""
    steps: list[tuple[Grain, int]] = [("hour", HOUR_MS), ("day", DAY_MS)]
    allowed = [step for step in steps if bucket_ms is None or bucket_ms % step[1] == 0]
    return sorted(_cut(window.start_at, window.end_at, allowed), key=lambda part: part.start_at)


def _cut(start_at: int, end_at: int, steps: list[tuple[Grain, int]]) -> Iterator[Segment]:
    """The coarsest grain takes the middle, finer ones the edges."""
    if start_at >= end_at:
        return
    if not steps:
        yield Segment("call", start_at, end_at)
        return
    grain, step = steps[-1]
    first, last = ceil_to(start_at, step), floor_to(end_at, step)
    if first >= last:
        yield from _cut(start_at, end_at, steps[:-1])
        return
    yield Segment(grain, first, last)
    yield from _cut(start_at, first, steps[:-1])
    yield from _cut(last, end_at, steps[:-1])


def needs(window: Window, dimensions: Iterable[str]) -> frozenset[str]:
    """Every dimension that a reading grouped by ``dimensions`` touches."""
    return window.dimensions | frozenset(dimensions)

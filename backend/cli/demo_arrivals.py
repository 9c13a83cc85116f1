"""When calls arrive and how long they are: bursts and lengths, recorded or drawn, over days and weeks."""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, pairwise
from math import exp
from pathlib import Path
from random import Random

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "traffic" / "azure_conv_2023.csv.gz"
"""One recorded hour of a real service, if it lies beside the repository."""

STEP_MS = 600_000
BY_HOUR = (18, 13, 10, 9, 10, 14, 24, 42, 66, 88, 98, 100, 90, 94, 100, 97, 90, 78, 62, 50, 44, 40, 33, 25)
BY_WEEKDAY = (1.0, 1.06, 1.05, 1.02, 0.9, 0.34, 0.3)
GROWTH_PER_DAY = 0.012

_DRAWN = 20_000


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of a prompt and of its answer."""

    prompt: int
    completion: int


def draw_arrivals(count: int, start_at: int, end_at: int, rng: Random) -> Iterator[tuple[int, Length]]:
    """``count`` moments (epoch ms) in order, busier by day and on weekdays, in bursts; each with a length."""
    gaps, lengths = _read_recorded() or _draw_recorded()
    first = rng.randrange(len(gaps))
    chosen = [gaps[(first + i) % len(gaps)] for i in range(count + 1)]
    total = sum(chosen)
    clock = _Clock(start_at, end_at, rng)
    for i, passed in enumerate(accumulate(chosen[:-1])):
        yield clock.at(passed / total), lengths[(first + i) % len(lengths)]


class _Clock:
    """From the share of all calls that came to the moment when they had."""

    def __init__(self, start_at: int, end_at: int, rng: Random) -> None:
        self._start_at = start_at
        self._step_ms = max(1, min(STEP_MS, (end_at - start_at) // 8))
        edges = range(start_at, end_at, self._step_ms)
        self._end_at = end_at
        busy = [_busyness(at, (at - start_at) / 86_400_000) * exp(rng.gauss(0, 0.12)) for at in edges]
        total = sum(busy)
        self._passed = [0.0, *(each / total for each in accumulate(busy))]

    def at(self, share: float) -> int:
        step = min(bisect_right(self._passed, share), len(self._passed) - 1) - 1
        low, high = self._passed[step], self._passed[step + 1]
        inside = (share - low) / (high - low) if high > low else 0.0
        return min(self._start_at + int((step + inside) * self._step_ms), self._end_at - 1)


def _busyness(at: int, days: float) -> float:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    next_hour = BY_HOUR[(moment.hour + 1) % 24]
    share = moment.minute / 60
    hour = BY_HOUR[moment.hour] * (1 - share) + next_hour * share
    return hour * BY_WEEKDAY[moment.weekday()] * (1 + GROWTH_PER_DAY * days)


@cache
def _read_recorded() -> tuple[Sequence[float], Sequence[Length]] | None:
    """Gaps between recorded calls in seconds, and their lengths."""
    if not RECORDED.is_file():
        return None
    with gzip.open(RECORDED, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    gaps = [max(0.0, later - earlier) for earlier, later in pairwise(times)]
    lengths = [Length(int(row["ContextTokens"]), max(1, int(row["GeneratedTokens"]))) for row in rows]
    return gaps, lengths


@cache
def _draw_recorded() -> tuple[Sequence[float], Sequence[Length]]:
    """The like of it: gaps in bursts, lengths with a long tail."""
    rng = Random(20)  # noqa: S311 - made-up traffic
    gaps = [rng.expovariate(1.0) * exp(rng.gauss(0, 0.9)) for _ in range(_DRAWN)]
    lengths = [
        Length(
            max(8, min(30_000, round(rng.lognormvariate(6.6, 0.95)))),
            max(1, min(4_000, round(rng.lognormvariate(4.8, 0.85)))),
        )
        for _ in range(_DRAWN)
    ]
    return gaps, lengths

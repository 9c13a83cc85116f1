"""What an engine said of itself: its latest reading, and its course over a range."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from db.engine_samples import EngineSample, read_newest_samples, read_thinned_samples

MOST_SAMPLES = 1500
GAUGES = ("running", "waiting", "kv_use", "prefix_hit_rate", "acceptance", "tokens_per_draft")
RATES = ("prompt_tokens_per_s", "completion_tokens_per_s")
LATENCIES = ("ttft", "itl", "total")
COLUMNS = (*GAUGES, *RATES, *(f"{name}_p95" for name in LATENCIES))


@dataclass(frozen=True, slots=True)
class Pulse:
    """The latest reading: ``figures`` as the sample has them, taken ``age_s`` seconds ago."""

    figures: Mapping[str, Any]
    age_s: float


def read_pulses(ledger: Ledger) -> dict[str, Pulse]:
    """The latest reading of every engine, by its name."""
    with ledger.read() as connection:
        rows = read_newest_samples(connection)
    now_ms = time.time_ns() // 1_000_000
    return {row.engine: Pulse(orjson.loads(row.figures), max(0.0, (now_ms - row.at) / 1000)) for row in rows}


def read_engine_course(ledger: Ledger, scope: Scope, engine: str) -> pd.DataFrame:
    """Per bucket of the range (``at``) the mean of what its readings said; a gap where there were none.

    Of a long range evenly spaced readings are taken, 1,500 at most. Columns as in ``COLUMNS``, latencies in ms.
    """
    step_ms = max(1, (scope.end_at - scope.start_at) // MOST_SAMPLES)
    with ledger.read() as connection:
        rows = read_thinned_samples(connection, engine, (scope.start_at, scope.end_at), step_ms)
    frame = pd.DataFrame(_lines(rows, scope.bucket_ms), columns=["at", *COLUMNS]).astype(dict.fromkeys(COLUMNS, float))
    return frame.groupby("at")[list(COLUMNS)].mean().reindex(list(scope.buckets)).rename_axis("at").reset_index()


def _lines(rows: Iterable[EngineSample], bucket_ms: int) -> Iterable[tuple[Any, ...]]:
    for row in rows:
        figures = orjson.loads(row.figures)
        slow = [(figures.get(name) or {}).get("p95_ms") for name in LATENCIES]
        yield row.at - row.at % bucket_ms, *(figures.get(name) for name in (*GAUGES, *RATES)), *slow

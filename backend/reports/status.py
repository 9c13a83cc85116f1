"""How fresh the numbers are: what waits in the spool, what was set aside, whether anything real is in them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from backend.ledger.status import read_status, undrained_bytes
from backend.reports.ledger import Ledger
from db.call_reads import read_last_at
from db.quarantine import count_quarantined
from db.rollup_reads import Grouping, read_sums
from db.windows import DAY_MS, HOUR_MS, Window, ceil_to, floor_to

SPOOL = "spool"
SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the database is behind the gateway, as far as this machine's spool shows it."""

    read_at: int
    last_call_at: int | None
    """When the newest call in the database started (epoch ms)."""
    spool_bytes: int
    """Bytes that wait to be moved; those of this machine only."""
    lag_ms: int
    """Age of the oldest record that waits, at most; 0 when nothing does."""
    quarantined: int
    simulated_only: bool
    """Whether every answer of the last day came from the simulated provider."""
    drainer_error: str | None = None
    """Why nothing is moved; none while all is well."""


def read_freshness(ledger: Ledger, now_at: int | None = None) -> Freshness:
    """How fresh the numbers are now (``now_at``, epoch ms)."""
    now_at = time.time_ns() // 1_000_000 if now_at is None else now_at
    day = Window(floor_to(now_at - DAY_MS, HOUR_MS), ceil_to(now_at + 1, HOUR_MS))
    with ledger.read() as connection:
        last_at, quarantined = read_last_at(connection), count_quarantined(connection)
        by_provider = read_sums(connection, day, Grouping(("provider",), measures=("calls",)))
    providers = {row.values[0] for row in by_provider if row.values[0]}
    spool_bytes, lag_ms, error = _read_spool(ledger.data_dir / SPOOL, now_at)
    return Freshness(now_at, last_at, spool_bytes, lag_ms, quarantined, providers == {SIMULATED}, error)


def _read_spool(folder: Path, now_at: int) -> tuple[int, int, str | None]:
    """Bytes waiting, age of the oldest in milliseconds, what keeps the drainer from moving them."""
    waiting, status = undrained_bytes(folder), read_status(folder)
    if not waiting or status is None:
        return waiting, 0, "The drainer has not started yet." if waiting else None
    silent_ms = max(0, now_at - status.at)
    error = status.error or ("The drainer is silent." if status.stale else None)
    return waiting, silent_ms + round(status.lag_s * 1000), error

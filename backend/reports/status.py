"""How fresh the numbers are: what waits in the spool, what was set aside, whether anything real is in them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from backend.reports.ledger import Ledger
from db.call_reads import read_last_at
from db.change_reads import DrainState, read_drain_state
from db.rollup_reads import Grouping, read_sums
from db.windows import DAY_MS, HOUR_MS, Window, ceil_to, floor_to

SPOOL = "spool"
SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the database is behind the gateway."""

    read_at: int
    last_call_at: int | None
    """When the newest call in the database started (epoch ms)."""
    spool_bytes: int
    """Bytes that wait to be moved; those of this machine only."""
    lag_ms: int
    """Age of the oldest record that may wait; 0 when nothing does."""
    quarantined: int
    simulated_only: bool
    """Whether every call of the last day was answered by the simulated provider."""


def read_freshness(ledger: Ledger, now_at: int | None = None) -> Freshness:
    """How fresh the numbers are now (``now_at``, epoch ms)."""
    now_at = time.time_ns() // 1_000_000 if now_at is None else now_at
    with ledger.read() as connection:
        drain, last_at = read_drain_state(connection), read_last_at(connection)
        day = Window(floor_to(now_at - DAY_MS, HOUR_MS), ceil_to(now_at + 1, HOUR_MS))
        by_provider = read_sums(connection, day, Grouping(("provider",), measures=("calls",)))
    providers = {row.values[0] for row in by_provider if row.values[0]}
    waiting = waiting_bytes(ledger.data_dir / SPOOL, drain)
    since = drain.drained_at if drain.drained_at is not None else _oldest_change(ledger.data_dir / SPOOL, now_at)
    return Freshness(
        now_at,
        last_at,
        waiting,
        max(0, now_at - since) if waiting else 0,
        drain.quarantined,
        providers == {SIMULATED},
    )


def waiting_bytes(spool: Path, drain: DrainState) -> int:
    """Bytes in the spool's segments beyond what was moved; the headers of empty segments do not count."""
    sizes = {path.name: _size(path) for path in spool.glob("*.spool")} if spool.is_dir() else {}
    return sum(max(0, size - drain.positions.get(name, 0)) for name, size in sizes.items())


def _oldest_change(spool: Path, now_at: int) -> int:
    times = [int(path.stat().st_mtime * 1000) for path in spool.glob("*.spool")] if spool.is_dir() else []
    return min(times, default=now_at)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # moved and removed between the listing and this look

"""Sweeps of engines: queued, claimed by whoever runs them, followed, cancelled, kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from db.tables_engine import sweeps

QUEUED, RUNNING, DONE, CANCELLED, FAILED = "queued", "running", "done", "cancelled", "failed"


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One sweep; ``plan`` and ``results`` are JSON, ``progress`` runs from 0 to 1, times are epoch milliseconds."""

    id: str
    engine: str
    state: str
    plan: str
    actor: str
    reason: str
    created_at: int
    progress: float = 0.0
    results: str | None = None
    message: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    cancel_wanted: bool = False


def insert_sweep(connection: Connection, row: SweepRow) -> None:
    """Add a sweep."""
    connection.execute(insert(sweeps).values(asdict(row)))


def read_sweep(connection: Connection, sweep_id: str) -> SweepRow | None:
    """One sweep, or None."""
    row = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).mappings().one_or_none()
    return SweepRow(**row) if row else None


def list_sweeps(
    connection: Connection, *, limit: int, engine: str | None = None, state: str | None = None
) -> Sequence[SweepRow]:
    """Sweeps newest first, of one engine or of all, in one state or in any."""
    query = select(sweeps).order_by(sweeps.c.created_at.desc(), sweeps.c.id.desc()).limit(limit)
    if engine is not None:
        query = query.where(sweeps.c.engine == engine)
    if state is not None:
        query = query.where(sweeps.c.state == state)
    return [SweepRow(**row) for row in connection.execute(query).mappings()]


def claim_sweep(connection: Connection, sweep_id: str, now_ms: int) -> bool:
    """Whether it was still queued and is now running for whoever asked."""
    queued = (sweeps.c.id == sweep_id) & (sweeps.c.state == QUEUED)
    return connection.execute(update(sweeps).where(queued).values(state=RUNNING, started_at=now_ms)).rowcount == 1


def write_sweep(connection: Connection, sweep_id: str, **changes: Any) -> None:
    """What whoever runs it knows: progress, results, message, state, ended_at."""
    connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(changes))


def want_cancel(connection: Connection, sweep_id: str, now_ms: int) -> bool:
    """Ask a sweep to end: a queued one ends here, a running one when it looks; False when it had ended before."""
    this = sweeps.c.id == sweep_id
    ended = {"state": CANCELLED, "ended_at": now_ms, "cancel_wanted": True}
    if connection.execute(update(sweeps).where(this, sweeps.c.state == QUEUED).values(ended)).rowcount:
        return True
    return (
        connection.execute(update(sweeps).where(this, sweeps.c.state == RUNNING).values(cancel_wanted=True)).rowcount
        == 1
    )

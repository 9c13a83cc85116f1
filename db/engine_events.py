"""What happened to engines: appended by the keeper, listed by pages and charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select

from db.tables_engine import engine_events as events


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One event; ``at`` is epoch milliseconds, ``changes``, ``before`` and ``after`` are JSON or None."""

    id: str
    engine: str
    at: int
    kind: str
    message: str
    actor: str
    reason: str
    changes: str | None = None
    before: str | None = None
    after: str | None = None


def insert_event(connection: Connection, event: EngineEvent) -> None:
    """Append an event."""
    connection.execute(insert(events).values(asdict(event)))


def list_events(
    connection: Connection, *, limit: int, engine: str | None = None, before: int | None = None
) -> Sequence[EngineEvent]:
    """Events newest first, of one engine or of all, those before a time (epoch milliseconds) only."""
    query = select(events).order_by(events.c.at.desc(), events.c.id.desc()).limit(limit)
    if engine is not None:
        query = query.where(events.c.engine == engine)
    if before is not None:
        query = query.where(events.c.at < before)
    return [EngineEvent(**row) for row in connection.execute(query).mappings()]


def read_events(
    connection: Connection, kinds: Sequence[str], start_at: int, end_at: int, limit: int
) -> Sequence[EngineEvent]:
    """Events of some kinds within a time, newest first."""
    query = select(events).where(events.c.kind.in_(kinds), events.c.at >= start_at, events.c.at < end_at)
    query = query.order_by(events.c.at.desc(), events.c.id.desc()).limit(limit)
    return [EngineEvent(**row) for row in connection.execute(query).mappings()]

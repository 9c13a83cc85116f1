"""The audit log: who did what to which subject, and why; appended to, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select

from db.tables import audit


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act; ``at`` is epoch milliseconds, ``changes`` JSON or None."""

    id: str
    at: int
    actor: str
    action: str
    subject: str
    reason: str
    changes: str | None = None


def insert_act(connection: Connection, row: AuditRow) -> None:
    """Append an act, in the transaction of the change it describes."""
    connection.execute(insert(audit).values(asdict(row)))


def list_acts(connection: Connection, *, limit: int, before: int | None = None) -> Sequence[AuditRow]:
    """Acts newest first, those before the time ``before`` (epoch milliseconds) only."""
    query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.at < before)
    return [AuditRow(**row) for row in connection.execute(query).mappings()]

"""Changes that a chart marks and a page lists, and how far the ledger's drain has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from db.audit import AuditRow
from db.settings import SettingsLine
from db.tables import audit, quarantine, settings_versions, spool_positions


@dataclass(frozen=True, slots=True)
class DrainState:
    """When records were last moved (epoch ms), and up to which byte of each spool segment."""

    drained_at: int | None
    positions: dict[str, int]
    quarantined: int


def read_settings_changes(connection: Connection, start_at: int, end_at: int, limit: int) -> Sequence[SettingsLine]:
    """Saves of the settings within a time, newest first."""
    table = settings_versions
    query = select(*(table.c[name] for name in ("version", "changes", "actor", "reason", "created_at")))
    query = query.where(table.c.created_at >= start_at, table.c.created_at < end_at)
    query = query.order_by(table.c.created_at.desc()).limit(limit)
    return [SettingsLine(**row) for row in connection.execute(query).mappings()]


def read_acts(connection: Connection, start_at: int, end_at: int, limit: int) -> Sequence[AuditRow]:
    """Acts of the audit log within a time, newest first."""
    query = select(audit).where(audit.c.at >= start_at, audit.c.at < end_at)
    query = query.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    return [AuditRow(**row) for row in connection.execute(query).mappings()]


def read_drain_state(connection: Connection) -> DrainState:
    """How far the drainer has come, and what it set aside."""
    rows = connection.execute(select(spool_positions)).all()
    quarantined = connection.execute(select(func.count()).select_from(quarantine)).scalar_one()
    positions = {row.segment: row.position for row in rows}
    return DrainState(max((row.drained_at for row in rows), default=None), positions, quarantined)

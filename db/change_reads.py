"""Changes that a chart marks and a page lists: saved settings and the acts of the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from db.audit import AuditRow
from db.settings import SettingsLine
from db.tables import audit, settings_versions


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

"""Versions of the settings: read, listed, inserted; never changed afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from db.tables import settings_versions as versions


class VersionTaken(Exception):
    """Another save took this version number first."""


@dataclass(frozen=True, slots=True)
class SettingsLine:
    """Who changed what and why; ``changes`` is JSON, ``created_at`` epoch milliseconds."""

    version: int
    changes: str
    actor: str
    reason: str
    created_at: int


@dataclass(frozen=True, slots=True)
class SettingsRow(SettingsLine):
    """A line with ``values``, the whole document as JSON."""

    values: str


_LINE = [versions.c[name] for name in ("version", "changes", "actor", "reason", "created_at")]
_ROW = [*_LINE, versions.c["values"]]


def read_newest(connection: Connection, *, below: int | None = None) -> SettingsRow | None:
    """The newest version, or the newest under ``below``; None before the first save."""
    query = select(*_ROW).order_by(versions.c.version.desc()).limit(1)
    if below is not None:
        query = query.where(versions.c.version < below)
    row = connection.execute(query).one_or_none()
    return SettingsRow(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name


def read_version(connection: Connection, version: int) -> SettingsRow | None:
    """One version, or None."""
    row = connection.execute(select(*_ROW).where(versions.c.version == version)).one_or_none()
    return SettingsRow(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name


def list_lines(
    connection: Connection, *, limit: int, before: int | None = None, before_at: int | None = None
) -> Sequence[SettingsLine]:
    """Versions without their documents, newest first; those under ``before`` and saved earlier than ``before_at``."""
    query = select(*_LINE).order_by(versions.c.version.desc()).limit(limit)
    if before is not None:
        query = query.where(versions.c.version < before)
    if before_at is not None:
        query = query.where(versions.c.created_at < before_at)
    return [SettingsLine(**row) for row in connection.execute(query).mappings()]


def insert_version(connection: Connection, row: SettingsRow) -> None:
    """Add a version; raises ``VersionTaken`` when the number exists."""
    try:
        connection.execute(insert(versions).values(asdict(row)))
    except IntegrityError as error:
        raise VersionTaken(row.version) from error

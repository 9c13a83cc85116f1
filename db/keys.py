"""Keys: inserted, listed, revoked. Only the hash of a credential is ever stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, insert, select, update

from db.tables import keys


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as stored; scopes, models and attribution are JSON, times epoch milliseconds."""

    id: str
    hash: str
    name: str
    prefix: str
    tenant: str
    scopes: str
    models: str
    attribution: str
    created_at: int
    created_by: str | None
    reason: str | None
    expires_at: int | None = None
    revoked_at: int | None = None
    revoked_by: str | None = None


def list_rows(connection: Connection) -> Sequence[KeyRow]:
    """Every key ever made, newest first, the revoked ones too."""
    query = select(keys).order_by(keys.c.created_at.desc(), keys.c.id)
    return [KeyRow(**row) for row in connection.execute(query).mappings()]


def insert_key(connection: Connection, row: KeyRow) -> None:
    """Add a key."""
    connection.execute(insert(keys).values(asdict(row)))


def mark_revoked(connection: Connection, key_id: str, *, at: int, by: str) -> bool:
    """Revoke a key that is not revoked yet; whether there was one."""
    query = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=at, revoked_by=by)
    return connection.execute(query).rowcount == 1


def exists(connection: Connection, key_id: str) -> bool:
    """Whether a key of this id was ever made."""
    query = select(func.count()).select_from(keys).where(keys.c.id == key_id)
    return bool(connection.execute(query).scalar_one())

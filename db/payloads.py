"""Captured bodies: written with the drain, removed after their time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from db.bulk import Row, Upsert, is_one_of
from db.tables import payloads

_keep_payloads = Upsert(payloads)


def keep_payloads(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert captured bodies, in column order; those of a call that has some are left as they are."""
    _keep_payloads.write(connection, rows)


def delete_payloads(connection: Connection, *, captured_before: int, limit: int = 500) -> int:
    """Remove up to ``limit`` payloads captured before this time; how many."""
    old = select(payloads.c.call_id).where(payloads.c.captured_at < captured_before)
    ids = list(connection.scalars(old.order_by(payloads.c.captured_at).limit(limit)))
    connection.execute(delete(payloads).where(is_one_of(connection, payloads.c.call_id, ids)))
    return len(ids)

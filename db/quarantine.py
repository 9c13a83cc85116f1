"""Records no row could be made of: kept with their bytes, so that nothing is dropped and nothing is blocked."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from db.bulk import Row, Upsert
from db.tables import quarantine

_quarantine = Upsert(quarantine)


def quarantine_records(connection: Connection, records: Sequence[tuple[str, int, bytes, str]]) -> None:
    """Keep records as (segment, position, bytes, error); one that is kept already stays as it is."""
    now = time.time_ns() // 1_000_000
    rows: list[Row] = [(*record, now) for record in records]
    _quarantine.write(connection, rows)


def count_quarantined(connection: Connection) -> int:
    """How many records wait there for a person."""
    return connection.scalar(select(func.count()).select_from(quarantine)) or 0

"""How far each spool segment has been drained: moved in the same transaction as the rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, select

from db.bulk import Upsert, is_one_of
from db.tables import spool_positions

_positions = Upsert(spool_positions, lambda _, incoming: incoming)


def read_positions(connection: Connection, segments: Sequence[str]) -> dict[str, int]:
    """The position reached in each of these segments; those never drained are absent."""
    mine = is_one_of(connection, spool_positions.c.segment, segments)
    query = select(spool_positions.c.segment, spool_positions.c.position).where(mine)
    return {row.segment: row.position for row in connection.execute(query)}


def move_positions(connection: Connection, positions: Mapping[str, int]) -> None:
    """Say how far each segment has been drained."""
    now = time.time_ns() // 1_000_000
    _positions.write(connection, [(segment, position, now) for segment, position in sorted(positions.items())])


def forget_positions(connection: Connection, segments: Sequence[str]) -> None:
    """Remove the positions of segments whose files are gone."""
    connection.execute(delete(spool_positions).where(is_one_of(connection, spool_positions.c.segment, segments)))

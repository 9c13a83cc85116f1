"""Writing attempt rows: one per try at a deployment, opened before it is made, closed exactly once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, literal_column

from db.bulk import Row, Upsert
from db.calls import UNFINISHED
from db.tables import attempts

_unfinished = attempts.c.state.in_([literal_column(f"'{state}'") for state in UNFINISHED])
_open_attempts = Upsert(attempts)
_close_attempts = Upsert(attempts, lambda _, incoming: incoming, _unfinished)


def open_attempts(connection: Connection, rows: Sequence[Row], *, fresh: bool = False) -> None:
    """Insert rows of attempts under way; a row that exists already is left as it is. ``fresh``: probably none does."""
    _open_attempts.write(connection, rows, fresh=fresh)


def close_attempts(connection: Connection, rows: Sequence[Row], *, fresh: bool = False) -> None:
    """Insert or complete rows of finished attempts; a row that is closed already stays as it is."""
    _close_attempts.write(connection, rows, fresh=fresh)

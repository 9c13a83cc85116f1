"""Writing call rows: opened, closed exactly once, given up when their worker died, removed after their time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, literal_column, select, update
from sqlalchemy.sql import ColumnElement

from db.bulk import Row, Upsert, is_one_of
from db.tables import attempts, cache_labels, calls, payloads

UNFINISHED = ("open", "unknown")
"""States that a close replaces: a call given up as unknown may still report what really happened."""

_unfinished = calls.c.state.in_([literal_column(f"'{state}'") for state in UNFINISHED])
_open_calls = Upsert(calls)
_close_calls = Upsert(calls, lambda _, incoming: incoming, _unfinished)


def open_calls(connection: Connection, rows: Sequence[Row], *, fresh: bool = False) -> None:
    """Insert rows of calls under way; a row that exists already is left as it is. ``fresh``: probably none does."""
    _open_calls.write(connection, rows, fresh=fresh)


def close_calls(connection: Connection, rows: Sequence[Row], *, fresh: bool = False) -> None:
    """Insert or complete rows of finished calls; a row that is closed already stays as it is."""
    _close_calls.write(connection, rows, fresh=fresh)


def lock_calls(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The state of those of these calls that exist; they stay locked until the transaction ends."""
    if not ids:
        return {}
    mine = is_one_of(connection, calls.c.id, ids)
    query = select(calls.c.id, calls.c.state).where(mine).order_by(calls.c.id).with_for_update()
    return {row.id: row.state for row in connection.execute(query)}


def read_rows(connection: Connection, ids: Sequence[str]) -> list[Row]:
    """These calls in column order."""
    if not ids:
        return []
    return [tuple(row) for row in connection.execute(select(calls).where(is_one_of(connection, calls.c.id, ids)))]


def give_up_calls(connection: Connection, *, worker: str, limit: int = 1000) -> list[Row]:
    """Close open calls of a dead worker as ``unknown``, cost unknown; the rows as they are now, in column order."""
    return _give_up(connection, calls.c.worker == worker, ("worker_died", limit))


def give_up_calls_before(connection: Connection, *, started_before: int, limit: int = 1000) -> list[Row]:
    """The same for calls that started before this time and were never closed, whoever their worker was."""
    return _give_up(connection, calls.c.started_at < started_before, ("never_closed", limit))


def delete_calls(connection: Connection, *, started_before: int, limit: int = 1000) -> int:
    """Remove up to ``limit`` closed calls that started before this time, with attempts, payloads, labels; how many."""
    old = select(calls.c.id).where(calls.c.started_at < started_before, calls.c.state != "open")
    ids = list(connection.scalars(old.order_by(calls.c.started_at).limit(limit)))
    for column in (attempts.c.call_id, payloads.c.call_id, cache_labels.c.call_id, calls.c.id):
        connection.execute(delete(column.table).where(is_one_of(connection, column, ids)))
    return len(ids)


def _give_up(connection: Connection, which: ColumnElement[bool], how: tuple[str, int]) -> list[Row]:
    error_code, limit = how
    found = select(calls.c.id).where(calls.c.state == "open", which).order_by(calls.c.id).limit(limit)
    ids = list(connection.scalars(found.with_for_update()))
    if not ids:
        return []
    mine = is_one_of(connection, calls.c.id, ids)
    tries = select(func.count()).where(attempts.c.call_id == calls.c.id).scalar_subquery()
    outcome = {"state": "unknown", "status": "failed", "error_code": error_code, "cost_nusd": None, "attempts": tries}
    connection.execute(update(calls).where(mine).values(outcome))
    _give_up_attempts(connection, ids, error_code)
    return read_rows(connection, ids)


def _give_up_attempts(connection: Connection, ids: Sequence[str], error_code: str) -> None:
    mine = is_one_of(connection, attempts.c.call_id, ids)
    outcome = {"state": "unknown", "error_code": error_code, "cost_nusd": None}
    connection.execute(update(attempts).where(mine, attempts.c.state == "open").values(outcome))

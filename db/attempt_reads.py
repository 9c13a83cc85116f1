"""Attempts in the order they were made: pages of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, and_, or_, select

from db.measures import filters_of
from db.tables import attempts, calls
from db.windows import Window


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the last attempt shown."""

    call_id: str
    number: int


def read_attempt_page(connection: Connection, window: Window, limit: int, after: Place | None) -> Sequence[RowMapping]:
    """The next attempts that started in a window, oldest call first; filters are those of their calls."""
    query = select(attempts).where(attempts.c.started_at >= window.start_at, attempts.c.started_at < window.end_at)
    if window.filters:
        query = query.where(attempts.c.call_id.in_(select(calls.c.id).where(*filters_of(calls, window))))
    if after:
        later = and_(attempts.c.call_id == after.call_id, attempts.c.number > after.number)
        query = query.where(attempts.c.call_id >= after.call_id, or_(attempts.c.call_id > after.call_id, later))
    return connection.execute(query.order_by(attempts.c.call_id, attempts.c.number).limit(limit)).mappings().all()

"""Calls one by one: a page of the list, a count with a bound, one call with its attempts and bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, and_, func, literal_column, not_, select
from sqlalchemy.sql import ColumnElement

from db.measures import begins_with, dimension_of, filters_of, narrowing_of, shorten
from db.tables import attempts, calls, keys, payloads
from db.windows import Window

LISTED = (
    "id",
    "started_at",
    "state",
    "status",
    "error_code",
    "http_status",
    "model",
    "served_model",
    "deployment",
    "provider",
    "rule",
    "cache_kind",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "cost_nusd",
    "saved_nusd",
    "latency_ms",
    "ttft_ms",
    "key_id",
    "user",
    "feature",
    "department",
    "environment",
    "origin",
    "stream",
    "attempts",
)
"""Columns of the list of calls."""

ALL_COLUMNS = [column.name for column in calls.c]
"""Columns of an export."""


_OPEN = calls.c.state == literal_column("'open'")  # as text, or SQLite does not see that the partial index serves


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the last call shown."""

    started_at: int
    id: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Up to ``limit`` calls older than ``after``, newest first, with these columns."""

    limit: int
    after: Position | None = None
    columns: Sequence[str] = LISTED


def read_page(connection: Connection, window: Window, wanted: PageRequest) -> Sequence[RowMapping]:
    """The next calls of a window, newest first; keyset, so a growing table never shows a call twice."""
    at = _time_of(window)
    query = select(*(calls.c[name] for name in wanted.columns)).where(*_conditions(window))
    if wanted.after:
        query = query.where(*_older_than(at, wanted.after))
    query = query.order_by(at.desc(), calls.c.id.desc()).limit(wanted.limit)
    return connection.execute(query).mappings().all()


def count_calls(connection: Connection, window: Window, limit: int) -> int:
    """How many calls a window holds, counted no further than ``limit``."""
    found = select(calls.c.id).where(*_conditions(window)).limit(limit).subquery()
    return int(connection.execute(select(func.count()).select_from(found)).scalar_one())


def count_open(connection: Connection, window: Window) -> int:
    """How many calls of a window have not ended yet (a partial index keeps them few)."""
    query = select(func.count()).where(_OPEN, *_open_conditions(window))
    return int(connection.execute(query).scalar_one())


def read_open_times(connection: Connection, window: Window) -> list[int]:
    """When the calls of a window that have not ended yet started (epoch ms)."""
    query = select(calls.c.started_at).where(_OPEN, *_open_conditions(window))
    return list(connection.scalars(query))


def has_call(connection: Connection, beginning: str) -> bool:
    """Whether a call's id begins so."""
    return connection.execute(select(calls.c.id).where(*begins_with(beginning)).limit(1)).first() is not None


def read_call(connection: Connection, call_id: str) -> RowMapping | None:
    """One call with every column, or none."""
    return connection.execute(select(calls).where(calls.c.id == call_id)).mappings().first()


def read_attempts(connection: Connection, call_id: str) -> Sequence[RowMapping]:
    """The tries of one call in order."""
    query = select(attempts).where(attempts.c.call_id == call_id).order_by(attempts.c.number)
    return connection.execute(query).mappings().all()


def read_payload(connection: Connection, call_id: str) -> RowMapping | None:
    """The captured bodies of one call, if capture was on."""
    return connection.execute(select(payloads).where(payloads.c.call_id == call_id)).mappings().first()


def read_first_at(connection: Connection) -> int | None:
    """When the oldest call started (epoch ms); none in an empty ledger."""
    found: int | None = connection.execute(select(func.min(calls.c.started_at))).scalar()
    return found


def read_last_at(connection: Connection) -> int | None:
    """When the newest call started (epoch ms); none in an empty ledger."""
    found: int | None = connection.execute(select(func.max(calls.c.started_at))).scalar()
    return found


def read_values(connection: Connection, window: Window, dimension: str, limit: int) -> list[tuple[str, int]]:
    """The most frequent values of one column over the window's calls, with their counts."""
    value = dimension_of(calls, dimension).label("value")
    query = select(value, func.count().label("calls")).where(*_conditions(window)).group_by(value)
    rows = connection.execute(query.order_by(func.count().desc()).limit(limit)).all()
    return [(shorten(row.value), row.calls) for row in rows]


def read_key_names(connection: Connection) -> dict[str, str]:
    """The name of every key by its id, revoked ones included."""
    return {row.id: row.name for row in connection.execute(select(keys.c.id, keys.c.name))}


def _time_of(window: Window) -> ColumnElement[int]:
    """When a call started, hidden from the index by time where the index of ids leaves far fewer rows."""
    return calls.c.started_at + 0 if window.narrowing.call_id else calls.c.started_at


def _conditions(window: Window) -> list[ColumnElement[bool]]:
    at = _time_of(window)
    return [at >= window.start_at, at < window.end_at, *filters_of(calls, window), *narrowing_of(window)]


def _open_conditions(window: Window) -> list[ColumnElement[bool]]:
    at = calls.c.started_at + 0  # not the index by time: the one of open calls is far smaller
    return [at >= window.start_at, at < window.end_at, *filters_of(calls, window), *narrowing_of(window)]


def _older_than(at: ColumnElement[int], position: Position) -> list[ColumnElement[bool]]:
    return [at <= position.started_at, not_(and_(at == position.started_at, calls.c.id >= position.id))]

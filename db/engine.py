"""Engines for SQLite and Postgres: pragmas, bounded waits, one way to write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError as RowRefused
from sqlalchemy.exc import SQLAlchemyError as DatabaseError
from sqlalchemy.pool import NullPool, QueuePool

__all__ = [
    "Connection",
    "DatabaseError",
    "Engine",
    "RowRefused",
    "connect",
    "connect_writer",
    "reading",
    "set_journal",
    "sqlite_module",
    "wal_is_safe",
    "writing",
]

try:
    import pysqlite3.dbapi2 as _fixed_sqlite
except ImportError:  # no wheel for this platform: the interpreter's own library serves
    _fixed_sqlite = None

WAL_FIXED_IN = (3, 51, 3)
"""First SQLite without the WAL-reset corruption; older ones run without WAL."""

_JOURNAL_S = 10.0
_JOURNAL_POLL_S = 0.01
_DEAD_PEER = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A server whose machine vanished is noticed within about ten seconds."""

for _library in (sqlite3, _fixed_sqlite):
    if (
        _library is not None
    ):  # these types would pass through a slow search for an adapter: a row took three times as long
        _library.register_adapter(type(None), {}.get)
        _library.register_adapter(bool, int)


def sqlite_module() -> ModuleType:
    """The newest SQLite at hand: the bundled one, else the interpreter's."""
    return _fixed_sqlite or sqlite3


def wal_is_safe() -> bool:
    """Whether several processes may share a WAL database with this SQLite."""
    return tuple(map(int, sqlite_module().sqlite_version.split("."))) >= WAL_FIXED_IN


def set_journal(connection: Any) -> None:
    """WAL where this SQLite may share it among processes. Raises ``OperationalError`` after ten seconds of locks.

    A change of journal fails at once where another is at it or writes: no busy timeout of SQLite covers it.
    """
    journal = "WAL" if wal_is_safe() else "TRUNCATE"
    deadline = time.monotonic() + _JOURNAL_S
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={journal}")
        except sqlite_module().OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_JOURNAL_POLL_S)
        else:
            return


def connect(url: str, *, pool_size: int = 4) -> Engine:
    """An engine whose every wait is bounded; creates a SQLite file's folder. Raises ``ArgumentError`` on a bad URL."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(url, parsed.database)
    parsed = parsed.set(drivername="postgresql+psycopg")
    limits = {"connect_timeout": 5, "options": "-c statement_timeout=60000 -c lock_timeout=10000", **_DEAD_PEER}
    return create_engine(
        parsed, pool_size=pool_size, max_overflow=2, pool_timeout=10, pool_pre_ping=True, connect_args=limits
    )


def connect_writer(url: str) -> Engine:
    """An engine for one thread that writes all day: one lasting connection, and commits that survive a power cut."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return connect(url, pool_size=1)
    engine = _connect_sqlite(url, parsed.database, poolclass=QueuePool, pool_size=1, max_overflow=0)
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=FULL"))
    return engine


def _connect_sqlite(url: str, path: str | None, **pool: Any) -> Engine:
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        pool = pool or {"poolclass": NullPool}
    engine = create_engine(
        url, module=sqlite_module(), connect_args={"timeout": 10, "check_same_thread": False}, **pool
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_deferred)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, so that writers take their lock at once
    set_journal(connection)
    for pragma in ("synchronous=NORMAL", "busy_timeout=10000", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_deferred(connection: Connection) -> None:
    if not connection.get_execution_options().get("writing"):
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection on one consistent snapshot."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that takes SQLite's write lock at once (a later upgrade would fail with ``database is locked``)."""
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        yield connection

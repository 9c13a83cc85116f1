"""Reading within a time limit: a page's query may be refused, it may never hold the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping
from sqlalchemy.exc import OperationalError

from db.engine import connect, reading

__all__ = ["Connection", "Database", "ReadTooSlow", "RowMapping", "open_database", "reading_within"]

_STEPS_BETWEEN_CHECKS = 20_000
_POSTGRES_CANCELLED = "57014"


class ReadTooSlow(Exception):
    """The statement ran past its limit and was stopped; a shorter range or fewer filters will do."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database as pages may use it: read-only, every statement within ``timeout_ms``."""

    engine: Engine
    timeout_ms: int

    def read(self) -> AbstractContextManager[Connection]:
        """One consistent snapshot. Raises ``ReadTooSlow``."""
        return reading_within(self.engine, self.timeout_ms)


def open_database(url: str, timeout_ms: int = 10_000) -> Database:
    """The database at a URL, to be read by pages and exports."""
    return Database(connect(url), timeout_ms)


@contextmanager
def reading_within(engine: Engine, timeout_ms: int) -> Iterator[Connection]:
    """A read-only snapshot whose statements are stopped after ``timeout_ms``. Raises ``ReadTooSlow``."""
    limit = _limit_sqlite if engine.dialect.name == "sqlite" else _limit_postgres
    try:
        with reading(engine) as connection, limit(connection, timeout_ms):
            yield connection
    except OperationalError as error:
        if _was_stopped(error.orig):
            raise ReadTooSlow(f"stopped after {timeout_ms} ms") from error
        raise


@contextmanager
def _limit_sqlite(connection: Connection, timeout_ms: int) -> Iterator[None]:
    raw: Any = connection.connection.driver_connection
    deadline = time.monotonic() + timeout_ms / 1000
    raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
    raw.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)
        raw.execute("PRAGMA query_only = OFF")


@contextmanager
def _limit_postgres(connection: Connection, timeout_ms: int) -> Iterator[None]:
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(timeout_ms)}")
    yield


def _was_stopped(error: BaseException | None) -> bool:
    return "interrupted" in str(error) or getattr(error, "sqlstate", None) == _POSTGRES_CANCELLED

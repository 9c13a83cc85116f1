"""Two kinds of failure a writer must tell apart: these rows are refused, or the database cannot be used now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from db.engine import writing

_REFUSALS = (DataError, IntegrityError, OverflowError, UnicodeError)
_TROUBLE = (SQLAlchemyError, OSError, OverflowError, UnicodeError)
_LONGEST = 300


class RowsRefused(Exception):
    """The database will never take these rows as they are; others it would."""


class DatabaseAway(Exception):
    """The database cannot be reached, is locked, full or broken: the same rows may pass later."""


@contextmanager
def judged() -> Iterator[None]:
    """Raises ``RowsRefused`` or ``DatabaseAway`` in place of a driver's error; the text holds no row's values."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (*_TROUBLE, *_psycopg("Error"))):
            raise
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        refusals = (*_REFUSALS, *_psycopg("DataError", "IntegrityError", "errors.ProgramLimitExceeded"))
        kind = RowsRefused if isinstance(error, refusals) or isinstance(cause, refusals) else DatabaseAway
        raise kind(_describe(cause)) from None


@contextmanager
def judged_writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction that commits at the end. Raises ``RowsRefused`` or ``DatabaseAway``; nothing is kept then."""
    with judged(), writing(engine) as connection:
        yield connection


def _psycopg(*names: str) -> tuple[type[Exception], ...]:
    """Errors of the Postgres driver, where it is in use: a SQLite ledger starts without importing it."""
    driver = sys.modules.get("psycopg")
    return tuple(attrgetter(name)(driver) for name in names) if driver else ()


def _describe(error: BaseException) -> str:
    text = error.diag.message_primary if isinstance(error, _psycopg("Error")) else None  # type: ignore[attr-defined]
    return " ".join(f"{type(error).__name__}: {text or error}".split())[:_LONGEST]

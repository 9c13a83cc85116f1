"""Two kinds of failure a writer must tell apart: these rows are refused, or the database cannot be used now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from db.engine import writing

_REFUSALS = (
    DataError,
    IntegrityError,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    OverflowError,
    UnicodeError,
)
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
    except (SQLAlchemyError, psycopg.Error, OSError, OverflowError, UnicodeError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        kind = RowsRefused if isinstance(error, _REFUSALS) or isinstance(cause, _REFUSALS) else DatabaseAway
        raise kind(_describe(cause)) from None


@contextmanager
def judged_writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction that commits at the end. Raises ``RowsRefused`` or ``DatabaseAway``; nothing is kept then."""
    with judged(), writing(engine) as connection:
        yield connection


def _describe(error: BaseException) -> str:
    text = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join(f"{type(error).__name__}: {text or error}".split())[:_LONGEST]

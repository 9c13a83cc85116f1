"""Ledgers for the tests of reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from backend.reports.ledger import Ledger
from db.engine import connect
from db.tables import metadata
from tests.databases import open_sqlite
from tests.reports.ledgers import Row, ledger_of, random_rows


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """The calls in the filled ledger."""
    return random_rows(700)


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> Iterator[Ledger]:
    """A ledger with the random calls, on SQLite and on PostgreSQL; tests only read it."""
    folder = tmp_path_factory.mktemp("ledger")
    engine = (
        open_sqlite(folder) if request.param == "sqlite" else _own_database(request.getfixturevalue("postgres_url"))
    )
    yield ledger_of(engine, folder, rows)
    engine.dispose()


def _own_database(url: str) -> Engine:
    """A database beside the one that other tests empty."""
    server = connect(url)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS reports WITH (FORCE)")  # of the files tested before
        connection.exec_driver_sql("CREATE DATABASE reports")
    server.dispose()
    engine = connect(make_url(url).set(database="reports").render_as_string(hide_password=False))
    metadata.create_all(engine)
    return engine


@pytest.fixture
def empty(engine: Engine, tmp_path: Path) -> Ledger:
    """A ledger without a call."""
    return ledger_of(engine, tmp_path)


@pytest.fixture
def small(sqlite: Engine, tmp_path: Path) -> Ledger:
    """An empty ledger on SQLite, for what does not depend on the database."""
    return ledger_of(sqlite, tmp_path)

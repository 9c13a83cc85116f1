from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from db import schema
from db.engine import Engine, connect, reading, writing
from db.failures import DatabaseAway
from db.tables import metadata


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    sqlite = f"sqlite:///{tmp_path / 'bare.db'}"
    engine = connect(sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    empty(engine)
    yield engine
    empty(engine)
    engine.dispose()


def empty(engine: Engine) -> None:
    metadata.drop_all(engine)
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))


def tables_of(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_there_is_one_head() -> None:
    assert ScriptDirectory(str(schema.MIGRATIONS)).get_heads() == [schema.head()]


def test_every_migration_is_named_after_its_revision() -> None:
    scripts = ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()
    assert schema.revisions() == {script.revision for script in scripts}


def test_the_migrations_make_the_tables_that_the_code_knows(bare: Engine) -> None:
    schema.upgrade(bare)
    with reading(bare) as connection:
        options = {"compare_type": True, "compare_server_default": bare.dialect.name == "postgresql"}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    assert differences == []
    schema.check(bare)


def test_every_migration_goes_down_and_up_again(bare: Engine) -> None:
    schema.upgrade(bare)
    complete = tables_of(bare)
    revisions = [script.revision for script in ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()]
    for revision in [*revisions[1:], "base"]:
        schema.downgrade(bare, revision)
        schema.upgrade(bare)
        assert tables_of(bare) == complete
        schema.downgrade(bare, revision)
    assert tables_of(bare) <= {"alembic_version"}
    schema.upgrade(bare)
    schema.check(bare)


def test_rows_survive_an_upgrade_that_has_nothing_to_do(bare: Engine) -> None:
    schema.upgrade(bare)
    with writing(bare) as connection:
        connection.execute(text("INSERT INTO revisions (noun, revision) VALUES ('keys', 7)"))
    schema.upgrade(bare)
    with reading(bare) as connection:
        assert connection.scalar(text("SELECT revision FROM revisions")) == 7


def test_an_older_schema_is_said_to_be_outdated(bare: Engine) -> None:
    with pytest.raises(schema.SchemaOutdated, match="revision none"):
        schema.check(bare)
    schema.upgrade(bare, "0001")
    with pytest.raises(schema.SchemaOutdated, match="revision 0001"):
        schema.check(bare)


def test_a_newer_schema_is_refused_and_left_alone(bare: Engine) -> None:
    schema.upgrade(bare)
    with writing(bare) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for step in (schema.check, schema.upgrade, lambda engine: schema.downgrade(engine, "base")):
        with pytest.raises(schema.SchemaTooNew, match="9999"):
            step(bare)
    assert "calls" in tables_of(bare)


def test_migrators_at_the_same_time_take_turns(bare: Engine) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def migrate() -> None:
        engine = connect(bare.url.render_as_string(hide_password=False))
        barrier.wait()
        try:
            schema.upgrade(engine)
        except BaseException as error:  # noqa: BLE001 - whatever went wrong is the finding
            failures.append(error)
        engine.dispose()

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    schema.check(bare)


def test_a_migration_that_fails_leaves_nothing_behind(bare: Engine) -> None:
    with writing(bare) as connection:
        connection.execute(text("CREATE TABLE daily_rollups (a INTEGER)"))
    with pytest.raises(DatabaseAway):
        schema.upgrade(bare)
    assert tables_of(bare) == {"daily_rollups"}


def test_a_database_that_cannot_be_reached_is_away(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    for url in (f"sqlite:///{tmp_path / 'folder.db'}", "postgresql+psycopg://nobody@127.0.0.1:1/none"):
        engine = connect(url)
        with pytest.raises(DatabaseAway):
            schema.check(engine)
        with pytest.raises(DatabaseAway):
            schema.upgrade(engine)
        engine.dispose()

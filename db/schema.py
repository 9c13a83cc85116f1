"""The schema's version: brought up to date by one migrator at a time, refused when newer than this code."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from db.engine import reading
from db.failures import judged, judged_writing

MIGRATIONS = Path(__file__).with_name("migrations")
_ADVISORY_LOCK = 4_716_020_831
"""Any number that nobody else takes: Postgres lets one session at a time hold it."""


class SchemaOutdated(Exception):
    """The database is older than this code: ``governor db upgrade`` brings it up to date."""


class SchemaTooNew(Exception):
    """The database was upgraded by a newer Governor: this one must not write to it."""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a revision; a second migrator waits, then finds nothing to do.

    Raises ``SchemaTooNew``, or ``DatabaseAway`` when the database cannot be reached.
    """
    with judged_writing(engine) as connection:
        _wait_for_turn(connection)
        _refuse_newer(connection)
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to an earlier revision (``base``: no tables at all). Raises as ``upgrade``."""
    with judged_writing(engine) as connection:
        _wait_for_turn(connection)
        _refuse_newer(connection)
        command.downgrade(_config(connection), revision)


def check(engine: Engine) -> None:
    """Raises ``SchemaOutdated`` or ``SchemaTooNew`` unless the schema is this code's; ``DatabaseAway`` as above."""
    with judged(), reading(engine) as connection:
        _refuse_newer(connection)
        found = current(connection)
    if found != head():
        raise SchemaOutdated(f"the database is at revision {found or 'none'}, this code needs {head()}")


def head() -> str:
    """The revision this code is written for."""
    return str(_scripts().get_current_head())


def current(connection: Connection) -> str | None:
    """The revision of the database; none before the first upgrade."""
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(connection: Connection) -> None:
    found = current(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if found is not None and found not in known:
        raise SchemaTooNew(f"the database is at revision {found}, newer than this code knows ({head()})")


def _wait_for_turn(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

"""The schema's version: brought up to date by one migrator at a time, refused when newer than this code.

Alembic is imported only when there is something to migrate: it takes longer than the rest of a start together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect

from db.engine import reading
from db.failures import judged, judged_writing

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "alembic_version"
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
        found = _refuse_newer(connection)
        if found is None or found != (head() if revision == "head" else revision):
            from alembic import command  # noqa: PLC0415 - see above

            command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to an earlier revision (``base``: no tables at all). Raises as ``upgrade``."""
    with judged_writing(engine) as connection:
        _wait_for_turn(connection)
        _refuse_newer(connection)
        from alembic import command  # noqa: PLC0415 - see above

        command.downgrade(_config(connection), revision)


def check(engine: Engine) -> None:
    """Raises ``SchemaOutdated`` or ``SchemaTooNew`` unless the schema is this code's; ``DatabaseAway`` as above."""
    with judged(), reading(engine) as connection:
        found = _refuse_newer(connection)
    if found != head():
        raise SchemaOutdated(f"the database is at revision {found or 'none'}, this code needs {head()}")


def head() -> str:
    """The revision this code is written for."""
    return max(revisions())


def revisions() -> set[str]:
    """Every revision this code knows: the first word of each migration's file name."""
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}


def current(connection: Connection) -> str | None:
    """The revision of the database; none before the first upgrade."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608
    return found


def _refuse_newer(connection: Connection) -> str | None:
    """The revision found; raises ``SchemaTooNew``."""
    found = current(connection)
    if found is not None and found not in revisions():
        raise SchemaTooNew(f"the database is at revision {found}, newer than this code knows ({head()})")
    return found


def _wait_for_turn(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

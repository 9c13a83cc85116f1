"""Commands about the database: bring its schema up to date, check it; and how every command opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from backend.cli.output import AsJson, CommandFailed, put, put_json, say

if TYPE_CHECKING:
    from backend.environment import Environment
    from db.engine import Engine

RETRY_S = 1.0

app = typer.Typer(help="The database: upgrade and check its schema.", no_args_is_help=True)


@app.command("upgrade")
def run_upgrade(as_json: AsJson = False) -> None:
    """Create the tables, or bring them up to this release."""
    environment = read_settled_environment()
    upgrade_database(environment)
    _report(environment, as_json=as_json)


@app.command("check")
def run_check(as_json: AsJson = False) -> None:
    """Say whether the schema is the one this release needs; exit code 1 when it is not."""
    from db import schema

    environment = read_settled_environment()
    with opened(environment) as engine:
        schema.check(engine)
    _report(environment, as_json=as_json)


def _report(environment: Environment, *, as_json: bool) -> None:
    from db import schema

    found = {"database": show_database(environment), "revision": schema.head(), "current": True}
    if as_json:
        put_json(found)
    else:
        put(f"{found['database']} is at revision {found['revision']}, which this release needs.")


def read_settled_environment() -> Environment:
    """The environment of this process. Raises ``CommandFailed`` naming the variable that is wrong."""
    from pydantic import ValidationError

    from backend.environment import read_environment

    try:
        return read_environment()
    except ValidationError as error:
        wrong = [f"GOVERNOR_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()]
        raise CommandFailed("; ".join(wrong)) from None
    except OSError as error:
        raise CommandFailed(f"A GOVERNOR_…_FILE cannot be read: {error}") from None


def upgrade_database(environment: Environment) -> None:
    """Brings schema and list prices up to date. Raises what ``db.schema.upgrade`` raises."""
    from db import schema
    from db.engine import connect

    engine = connect(environment.database)
    try:
        schema.upgrade(engine)
        _seed_prices(engine)
    finally:
        engine.dispose()


def await_database(environment: Environment) -> None:
    """As ``upgrade_database``, but waits for a database server that cannot be reached, and says why."""
    import time

    from db.failures import DatabaseAway

    told = None
    while True:
        try:
            return upgrade_database(environment)
        except DatabaseAway as error:
            if sqlite_path(environment) is not None:
                raise
            if str(error) != told:
                told = str(error)
                say(f"governor: waiting for the database. {' '.join(told.split())}")
            time.sleep(RETRY_S)


def _seed_prices(engine: Engine) -> None:
    """The list prices of the installed map that the table does not have yet; what was in force stays in the table."""
    import time
    from importlib.metadata import version

    from backend.pricing.seed import new_rows
    from db.engine import writing
    from db.prices import add_prices, list_prices, load_prices
    from db.revisions import bump

    with writing(engine) as connection:
        newest = list_prices(connection, source="litellm", limit=1)
        if newest and newest[0].reason == f"litellm {version('litellm')}":
            return  # reading the map takes longer than everything else at start
        fresh = new_rows(load_prices(connection), time.time_ns() // 1_000_000)
        if fresh and add_prices(connection, fresh):
            bump(connection, "prices")


@contextmanager
def opened(environment: Environment) -> Iterator[Engine]:
    """The database, whatever its schema; a SQLite file that does not exist is not created. Raises ``CommandFailed``."""
    from db.engine import connect

    path = sqlite_path(environment)
    if path is not None and not path.exists():
        raise CommandFailed(f"There is no database at {path} yet. `governor db upgrade` or `governor up` makes it.")
    engine = connect(environment.database)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def opened_current() -> Iterator[Engine]:
    """The database of this environment with the schema this release needs. Raises ``CommandFailed``."""
    from db import schema

    environment = read_settled_environment()
    with opened(environment) as engine:
        schema.check(engine)
        yield engine


def sqlite_path(environment: Environment) -> Any:
    """The file of a SQLite database; None for any other."""
    from pathlib import Path

    _, found, path = environment.database.partition("sqlite:///")
    return Path(path) if found and path else None


def show_database(environment: Environment) -> str:
    """The database for people: a path, or a URL without its password."""
    from urllib.parse import urlsplit

    path = sqlite_path(environment)
    if path is not None:
        return str(path)
    parts = urlsplit(environment.database)
    return f"{parts.scheme.partition('+')[0]}://{parts.hostname or ''}{parts.path}"

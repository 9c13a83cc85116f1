from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from db.bounded import Database, ReadTooSlow
from db.engine import writing

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


def test_a_statement_past_its_limit_is_stopped(engine: Engine) -> None:
    with pytest.raises(ReadTooSlow), Database(engine, 50).read() as connection:
        connection.execute(text(ENDLESS[engine.dialect.name]))


def test_after_a_stop_the_database_serves_again(engine: Engine) -> None:
    test_a_statement_past_its_limit_is_stopped(engine)
    with Database(engine, 20_000).read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM calls")) == 0
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO revisions VALUES ('keys', 1)"))


def test_reading_cannot_write(engine: Engine) -> None:
    with pytest.raises(DBAPIError), Database(engine, 20_000).read() as connection:
        connection.execute(text("INSERT INTO revisions VALUES ('keys', 1)"))


def test_other_errors_keep_their_name(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="nowhere"), Database(engine, 20_000).read() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_one_reading_sees_one_moment(engine: Engine) -> None:
    with Database(engine, 20_000).read() as connection:
        before = connection.scalar(text("SELECT count(*) FROM revisions"))
        with writing(engine) as other:
            other.execute(text("INSERT INTO revisions VALUES ('prices', 1)"))
        assert connection.scalar(text("SELECT count(*) FROM revisions")) == before

from __future__ import annotations

import pytest
from sqlalchemy import insert, text

from db.engine import Engine, writing
from db.failures import DatabaseAway, RowsRefused, judged, judged_writing
from db.tables import revisions


def write(engine: Engine, rows: list[tuple[str, int | None]]) -> None:
    with judged_writing(engine) as connection:
        for noun, revision in rows:
            connection.execute(insert(revisions).values(noun=noun, revision=revision))


def test_a_value_out_of_range_is_refused(engine: Engine) -> None:
    with pytest.raises(RowsRefused), judged_writing(engine) as connection:
        connection.execute(insert(revisions).values(noun="keys", revision=2**70))


def test_a_missing_value_is_refused(engine: Engine) -> None:
    with pytest.raises(RowsRefused), judged_writing(engine) as connection:
        connection.execute(insert(revisions).values(noun="keys", revision=None))


def test_text_that_cannot_be_encoded_is_refused(engine: Engine) -> None:
    with pytest.raises(RowsRefused), judged_writing(engine) as connection:
        connection.execute(insert(revisions).values(noun="\ud800", revision=1))


def test_a_statement_the_database_does_not_know_is_an_outage(engine: Engine) -> None:
    with pytest.raises(DatabaseAway), judged_writing(engine) as connection:
        connection.execute(text("SELECT nonsense FROM nowhere"))


def test_a_lost_connection_is_an_outage() -> None:
    with pytest.raises(DatabaseAway, match="ConnectionResetError"), judged():
        raise ConnectionResetError


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), judged():
        raise KeyError("a mistake of ours")


def test_a_failure_says_what_happened_and_no_values(engine: Engine) -> None:
    with pytest.raises(RowsRefused) as refusal, judged_writing(engine) as connection:
        connection.execute(insert(revisions).values(noun="a secret", revision=None))
    assert "a secret" not in str(refusal.value)
    assert len(str(refusal.value)) <= 300


def test_nothing_is_kept_of_a_failed_transaction(engine: Engine) -> None:
    rows = [("keys", 1), ("prices", None)]
    with pytest.raises(RowsRefused):
        write(engine, rows)
    with writing(engine) as connection:
        assert connection.execute(revisions.select()).all() == []

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import event

from backend.ledger import retention
from backend.ledger.retention import remove_expired
from backend.settings.knobs import LedgerSettings
from db.engine import Engine
from db.failures import DatabaseAway
from tests.ledger.samples import Books

LONG_AGO = 1_600_000_000_000


@pytest.fixture
def books(engine: Engine, tmp_path: Path) -> Books:
    made = Books(engine, tmp_path / "spool", LedgerSettings(headroom_mb=1, capture=True, calls_days=30))
    made.make(30, started_at=LONG_AGO, payload=(b"q", b"a"))
    made.make(5)
    made.drainer.drain()
    return made


def test_what_one_round_leaves_goes_in_the_next(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_STEPS", 1)
    remove_expired(books.engine, books.settings)
    remove_expired(books.engine, books.settings)
    assert len(books.rows()) == 5
    assert remove_expired(books.engine, books.settings) == 0


def test_a_failure_in_the_middle_keeps_what_was_done_and_harms_nothing(books: Books) -> None:
    statements = list[str]()

    def fail_late(*arguments: object) -> None:
        statements.append(str(arguments[2]))
        if sum("DELETE FROM calls" in each for each in statements) == 1:
            raise OSError("the connection is gone")

    event.listen(books.engine, "before_cursor_execute", fail_late)
    with pytest.raises(DatabaseAway):
        remove_expired(books.engine, books.settings)
    event.remove(books.engine, "before_cursor_execute", fail_late)
    assert len(books.rows()) == 35
    remove_expired(books.engine, books.settings)
    assert len(books.rows()) == 5


def test_young_calls_and_rollups_stay(books: Books) -> None:
    before = books._by_model()
    remove_expired(books.engine, books.settings)
    assert books._by_model() == before
    assert {row["started_at"] > LONG_AGO for row in books.rows().values()} == {True}

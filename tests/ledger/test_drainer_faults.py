from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from backend.call import Entry
from backend.ledger.segments import measure_segments
from backend.ledger.writer import write_batch
from backend.settings.knobs import LedgerSettings
from db.engine import Engine, reading
from db.failures import DatabaseAway
from db.tables import calls, metadata
from tests.ledger.samples import Books, make_attempt, make_entry


@pytest.fixture
def books(engine: Engine, tmp_path: Path) -> Books:
    return Books(engine, tmp_path / "spool", segment_bytes=20_000)


POISON: list[dict[str, Any]] = [
    {"user": "a\0b"},
    {"model": "\ud800"},
    {"tags": {"a": "\0", "b": "\udfff"}},
    {"usage": {"n": 10**400}},
    {"prompt_tokens": 10**30},
    {"prompt_tokens": 2**63},
    {"cost_nusd": 2**62},
    {"settings_version": 2**40},
    {"feature": "f" * 5_000_000},
    {"model": "m" * 3_000, "feature": "é" * 3_000, "department": "☃" * 3_000},
    {"similarity": float("inf")},
    {"source_call_id": "x" * 100},
    {"user": 7},
]


def test_one_poison_row_neither_blocks_nor_loses_the_others(books: Books) -> None:
    good = books.make(20)
    bad: list[Entry] = []
    for values in POISON:
        bad += books.make(1)
        for name, value in values.items():
            setattr(bad[-1], name, value)
        bad[-1].state = "estimated"
        books.ledger.record(bad[-1])
        good += books.make(3)
    poisoned = [make_entry("w", state="settled", status="ok", **values) for values in POISON]
    for entry in poisoned:
        books.ledger.record(entry)
    books.drainer.drain()
    rows, aside = books.rows(), books.quarantined()
    assert all(rows[entry.id]["state"] == "settled" for entry in good)
    arrived = [entry for entry in poisoned if entry.id in rows]
    kept = [entry for entry in poisoned if any(entry.id.encode() in bytes(record.record) for record in aside)]
    assert len(arrived) + len(kept) == len(POISON)
    assert len(arrived) >= 6
    assert books.drainer.status().quarantined == len(aside)
    books.assert_rollups_agree()


def test_a_damaged_record_is_set_aside_with_its_bytes(books: Books) -> None:
    books.make(3)
    segment = books.folder / next(iter(measure_segments(books.folder)))
    data = bytearray(segment.read_bytes())
    data[-2_000] ^= 0xFF
    segment.write_bytes(data)
    books.drainer.drain()
    (record,) = books.quarantined()
    assert bytes(record.record) in bytes(data)
    assert record.error == "damaged bytes"
    assert len(books.rows()) == 3
    books.assert_rollups_agree()


class Saboteur:
    """Counts the statements of an engine and fails one of them, before it is sent or after it was done."""

    def __init__(self, engine: Engine) -> None:
        self.seen = 0
        self.fail_at = -1
        self.after = False
        event.listen(engine, "before_cursor_execute", lambda *_: self._count(after=False))
        event.listen(engine, "after_cursor_execute", lambda *_: self._count(after=True))
        event.listen(engine, "commit", lambda _: self._count(after=False))

    def _count(self, *, after: bool) -> None:
        if after != self.after:
            return
        self.seen += 1
        if self.seen == self.fail_at:
            raise OSError("the connection is gone")


@pytest.mark.parametrize("after", [False, True])
def test_a_failure_at_any_statement_loses_and_doubles_nothing(engine: Engine, tmp_path: Path, *, after: bool) -> None:
    saboteur = Saboteur(engine)
    saboteur.after = after
    failed, step = True, 0
    while failed:
        step += 1
        failed = _drain_with_a_failure(Books(engine, tmp_path / str(step)), saboteur, step)
    assert step > 20
    with reading(engine) as connection:
        assert connection.execute(select(calls)).all()


def _drain_with_a_failure(books: Books, saboteur: Saboteur, step: int) -> bool:
    """Whether the statement of that number was reached at all; the books are exact either way."""
    with reading(books.engine) as connection:
        earlier = {row[0] for row in connection.execute(select(calls.c.id))}
    _make_a_bit_of_everything(books)
    saboteur.seen, saboteur.fail_at = 0, step
    failures = 0
    while True:
        try:
            books.drainer.drain()
            break
        except DatabaseAway:
            failures += 1
    saboteur.fail_at = -1
    assert books.rows().keys() == earlier | {entry.id for entry in books.made}
    assert list(books.folder.iterdir()) == []
    books.assert_rollups_agree()
    return failures > 0


def _make_a_bit_of_everything(books: Books) -> None:
    books.settings = LedgerSettings(headroom_mb=1, capture=True)
    books.make(4, payload=(b"q", b"a"))
    books.open_call()
    books.ledger.record(make_entry("w", user=5))
    books.ledger.close()


def test_a_commit_whose_answer_is_lost_is_not_repeated(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:

    def commit_then_fail(*arguments: Any) -> None:
        write_batch(*arguments)
        raise DatabaseAway("the connection is gone")

    books.make(30)
    with monkeypatch.context() as patch:
        patch.setattr("backend.ledger.drainer.write_batch", commit_then_fail)
        with pytest.raises(DatabaseAway):
            books.drainer.drain()
    books.drainer.drain()
    books.assert_exact()


def test_a_database_without_tables_makes_the_drainer_wait_not_quarantine(engine: Engine, tmp_path: Path) -> None:
    books = Books(engine, tmp_path / "spool")
    books.make(3)
    metadata.drop_all(engine)
    with pytest.raises(DatabaseAway):
        books.drainer.drain()
    metadata.create_all(engine)
    books.drainer.drain()
    books.assert_exact()
    assert books.quarantined() == []


def test_an_attempt_that_arrives_before_its_call_blocks_nothing(books: Books) -> None:
    entry, attempt = books.open_call()
    (books.folder / next(iter(measure_segments(books.folder)))).unlink()
    books.ledger = books.open_ledger()
    second = make_attempt(entry, 2)
    books.ledger.dispatching(entry, second)
    books.drainer.drain()
    books.close_call(entry, attempt)
    others = books.make(3)
    books.drainer.drain()
    assert books.rows().keys() == {entry.id, *(other.id for other in others)}
    assert books.quarantined() == []
    books.assert_rollups_agree()


def test_drainers_of_several_machines_share_one_database(engine: Engine, tmp_path: Path) -> None:
    machines = [Books(engine, tmp_path / f"machine-{number}") for number in range(4)]
    failures: list[BaseException] = []

    def work(books: Books) -> None:
        try:
            for _ in range(5):
                books.make(40, model="shared", user="shared", feature="shared")
                drain_patiently(books)
        except BaseException as error:  # noqa: BLE001 - whatever went wrong is the finding
            failures.append(error)

    threads = [threading.Thread(target=work, args=(books,)) for books in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert len(machines[0].rows()) == 4 * 5 * 40
    machines[0].assert_rollups_agree()


def drain_patiently(books: Books) -> None:
    """Two machines may get into each other's way (a deadlock, a lock held for long): the same batch is tried again."""
    for _ in range(20):
        try:
            books.drainer.drain()
            return
        except DatabaseAway:
            continue
    raise AssertionError("the database was away twenty times in a row")

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from backend.call import Entry
from backend.ledger.drainer import Drainer
from backend.ledger.segments import measure_segments
from backend.ledger.status import read_status, undrained_bytes, write_status
from backend.ledger.writer import write_batch
from backend.settings.knobs import LedgerSettings
from db.calls import give_up_calls
from db.engine import Engine, reading, writing
from db.failures import DatabaseAway
from db.tables import calls, metadata, payloads, quarantine, rollups, spool_positions
from tests.ledger.samples import Books, finish, make_attempt, make_entry


@pytest.fixture
def books(engine: Engine, tmp_path: Path) -> Books:
    return Books(engine, tmp_path / "spool", segment_bytes=20_000)


def read_quarantine(engine: Engine) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(quarantine)))


def test_calls_arrive_once_and_rollups_are_exact(books: Books) -> None:
    books.make(200)
    assert books.drainer.drain() > 0
    assert books.drainer.drain() == 0
    books.assert_exact()
    assert {row["state"] for row in books.attempt_rows()} == {"settled"}


def test_a_call_under_way_is_seen_but_not_summed(books: Books) -> None:
    entry, attempt = books.open_call()
    books.drainer.drain()
    assert books.rows()[entry.id]["state"] == "open"
    assert books.rows()[entry.id]["status"] is None
    books.assert_rollups_agree()
    books.close_call(entry, attempt)
    books.drainer.drain()
    books.assert_exact()


def test_a_fallback_has_an_attempt_row_for_each_try(books: Books) -> None:
    entry, first = books.open_call()
    books.drainer.drain()
    first.state, first.error_code = "failed", "upstream_500"
    second = make_attempt(entry, 2)
    books.ledger.dispatching(entry, second)
    books.drainer.drain()
    assert [row["state"] for row in books.attempt_rows()] == ["open", "open"]
    books.close_call(entry, second)
    books.drainer.drain()
    assert [(row["number"], row["state"]) for row in books.attempt_rows()] == [(1, "failed"), (2, "settled")]


def test_json_is_text_and_bodies_are_bytes(books: Books) -> None:
    books.settings = LedgerSettings(headroom_mb=1, capture=True, capture_max_kb=1, redact=(r"sk-\w+",))
    request, response = b"key sk-abc123 and " + b"x" * 2_000, b"\xff\x00 answer"
    (entry,) = books.make(1, payload=(request, response))
    books.drainer.drain()
    assert books.rows()[entry.id]["tags"] == '{"team":"red"}'
    with reading(books.engine) as connection:
        row = connection.execute(select(payloads)).one()
    assert bytes(row.request) == (b"key [redacted] and " + b"x" * 2_000)[:1024]
    assert (bytes(row.response), row.truncated) == (response, True)


def test_draining_again_from_the_start_changes_nothing(books: Books) -> None:
    books.make(50)
    books.open_call()
    books.drainer.drain()
    before = books.rows()
    with writing(books.engine) as connection:
        connection.execute(update(spool_positions).values(position=0))
    books.restart_drainer()
    books.drainer.drain()
    assert books.rows() == before
    books.assert_rollups_agree()


def test_drained_segments_are_removed_and_their_positions_forgotten(books: Books) -> None:
    books.make(200)
    assert len(measure_segments(books.folder)) > 5
    books.drainer.drain()
    (last,) = measure_segments(books.folder)
    with reading(books.engine) as connection:
        assert list(connection.scalars(select(spool_positions.c.segment))) == [last]
    books.ledger.close()
    books.drainer.drain()
    assert list(books.folder.iterdir()) == []
    books.assert_exact()


def test_several_workers_are_drained_side_by_side(books: Books) -> None:
    ledgers = [books.ledger, books.open_ledger(), books.open_ledger()]
    for number in range(90):
        books.ledger = ledgers[number % 3]
        books.make(1)
    books.drainer.drain()
    books.assert_exact()
    assert len({row["worker"] for row in books.rows().values()}) == 3


def test_calls_of_a_dead_worker_become_unknown_and_are_counted(books: Books) -> None:
    books.make(5)
    opened = [books.open_call()[0] for _ in range(3)]
    books.drainer.drain()
    assert {books.rows()[entry.id]["state"] for entry in opened} == {"open"}
    books.ledger.close()
    books.drainer.drain()
    for entry in opened:
        row = books.rows()[entry.id]
        assert (row["state"], row["status"], row["error_code"], row["cost_nusd"]) == (
            "unknown",
            "failed",
            "worker_died",
            None,
        )
        assert row["attempts"] == 1
    lost = [row for row in books.attempt_rows() if row["call_id"] in {entry.id for entry in opened}]
    assert {(row["state"], row["error_code"], row["cost_nusd"]) for row in lost} == {("unknown", "worker_died", None)}
    books.assert_rollups_agree()
    assert list(books.folder.iterdir()) == []


def test_a_close_after_all_replaces_unknown_and_is_not_counted_twice(books: Books) -> None:
    entry, attempt = books.open_call()
    books.ledger.close()
    books.drainer.drain()
    books.ledger = books.open_ledger()
    books.close_call(entry, attempt)
    books.drainer.drain()
    books.assert_exact()
    assert [row["state"] for row in books.attempt_rows()] == ["settled"]
    books.ledger.record(entry)
    books.drainer.drain()
    books.assert_exact()


def test_calls_never_closed_are_given_up_after_six_hours(books: Books) -> None:
    young, old = books.open_call()[0], books.open_call(started_at=make_entry("w").started_at - 7 * 3_600_000)[0]
    books.drainer.drain()
    books.drainer.housekeep()
    rows = books.rows()
    assert (rows[old.id]["state"], rows[old.id]["error_code"]) == ("unknown", "never_closed")
    assert rows[young.id]["state"] == "open"
    books.assert_rollups_agree()


def test_many_calls_are_given_up_in_bounded_steps(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.ledger.reaper.give_up_calls", partial(give_up_calls, limit=7))
    for _ in range(30):
        books.open_call()
    books.ledger.close()
    books.drainer.drain()
    assert {row["state"] for row in books.rows().values()} == {"unknown"}
    books.assert_rollups_agree()


def test_what_has_had_its_time_is_removed_and_rollups_stay(books: Books) -> None:
    books.settings = LedgerSettings(headroom_mb=1, capture=True, capture_days=1, calls_days=2)
    day_ms = 86_400_000
    ancient, old, new = (
        books.make(1, payload=(b"q", b"a"), **values)[0]
        for values in ({"started_at": 1_700_000_000_000}, {"started_at": Entry("w", "e").started_at - day_ms - 1}, {})
    )
    books.drainer.drain()
    books.drainer.housekeep()
    assert books.rows().keys() == {old.id, new.id}
    with reading(books.engine) as connection:
        assert set(connection.scalars(select(payloads.c.call_id))) == {new.id}
    assert {row["call_id"] for row in books.attempt_rows()} == {old.id, new.id}
    assert books._sums(rollups)[0] == 3
    assert ancient.id not in books.rows()


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
    rows, aside = books.rows(), read_quarantine(books.engine)
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
    (record,) = read_quarantine(books.engine)
    assert bytes(record.record) in bytes(data)
    assert record.error == "damaged bytes"
    assert len(books.rows()) == 3
    books.assert_rollups_agree()


class Stop(Exception):
    """Stands for anything that interrupts the drainer."""


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
    assert read_quarantine(engine) == []


def test_the_status_says_how_far_the_drainer_is(books: Books) -> None:
    books.make(10)
    waiting = undrained_bytes(books.folder)
    assert waiting == sum(measure_segments(books.folder).values())
    before = books.drainer.status("the database is away")
    assert (before.spool_bytes, before.error) == (waiting, "the database is away")
    books.drainer.drain()
    after = books.drainer.status()
    assert (after.spool_bytes, after.lag_s, after.error, after.pid) == (0, 0.0, None, os.getpid())
    assert after.records > 20
    write_status(books.folder, after)
    assert read_status(books.folder) == after
    assert not after.stale
    assert undrained_bytes(books.folder) == 0


def test_no_status_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / "drainer.json").write_text("{")
    assert read_status(tmp_path) is None


def test_a_large_batch_is_folded_whole(books: Books) -> None:
    with writing(books.engine) as connection:
        connection.execute(insert(spool_positions).values(segment="other", position=1, drained_at=1))
    for _ in range(3):
        entry = make_entry("w")
        finish(entry, make_attempt(entry), books.random)
        books.ledger.record(entry)
        books.made.append(entry)
    assert isinstance(books.drainer, Drainer)
    books.drainer.drain()
    books.assert_exact()


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
    assert read_quarantine(books.engine) == []
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

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from backend.call import Entry
from backend.ledger.drainer import Drainer
from backend.ledger.segments import measure_segments
from backend.ledger.status import read_status, undrained_bytes, write_status
from backend.settings.knobs import LedgerSettings
from db.calls import give_up_calls
from db.engine import Engine, reading, writing
from db.revisions import read_marks
from db.tables import payloads, rollups, spool_positions
from tests.ledger.samples import Books, finish, make_attempt, make_entry, make_label


@pytest.fixture
def books(engine: Engine, tmp_path: Path) -> Books:
    return Books(engine, tmp_path / "spool", segment_bytes=20_000)


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


def test_labels_arrive_once_and_wake_the_workers(books: Books) -> None:
    said = [make_label(f"call-{number}", same=number % 5 > 0, at=number) for number in range(40)]
    for label in said:
        books.ledger.label(label)
    books.drainer.drain()
    assert read_marks(books.engine)["cache_labels"] >= 1
    with writing(books.engine) as connection:
        connection.execute(update(spool_positions).values(position=0))
    books.restart_drainer()
    books.ledger.label(make_label("call-3", same=False))
    books.drainer.drain()
    found = sorted(books.labels(), key=lambda label: label.at)
    assert [replace(label, stored_at=0) for label in found] == said
    assert min(label.stored_at for label in found) > 1_700_000_000_000


def test_a_poisoned_label_stands_in_quarantine_beside_good_ones(books: Books) -> None:
    for label in (make_label("good"), make_label("call", probability=7.0), make_label("fine", note="n\0")):
        books.ledger.label(label)
    (entry,) = books.make(1)
    books.drainer.drain()
    assert {label.id for label in books.labels()} == {"good", "fine"}
    (record,) = books.quarantined()
    assert "probability" in record.error
    assert entry.id in books.rows()


def test_labels_go_with_their_calls(books: Books) -> None:
    books.settings = LedgerSettings(headroom_mb=1, calls_days=2)
    old, new = books.make(1, started_at=1_700_000_000_000)[0], books.make(1)[0]
    for entry in (old, new):
        books.ledger.label(make_label(entry.id))
    books.drainer.drain()
    books.drainer.housekeep()
    assert [label.id for label in books.labels()] == [new.id]

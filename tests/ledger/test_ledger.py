from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.errors import LedgerUnavailable
from backend.ledger import ledger as ledger_module
from backend.ledger import room as room_module
from backend.ledger.ledger import Ledger
from backend.ledger.reader import SpoolReader
from backend.ledger.records import CLOSE, OPEN, Layout, Payload, Record, decode
from backend.ledger.segments import START
from backend.ledger.spool import Spool
from backend.settings.knobs import LedgerSettings
from db.cache_labels import Label
from tests.ledger.samples import finish, make_attempt, make_entry, make_label


class Desk:
    """A ledger whose disk and knobs a test holds in its hands."""

    def __init__(self, folder: Path) -> None:
        self.settings = LedgerSettings(headroom_mb=1)
        self.spool = Spool(folder, "w-1-1")
        self.ledger = Ledger(self.spool, lambda: self.settings)
        self.full = False
        self._append = self.spool.append
        self.spool.append = self._refuse_or_append  # type: ignore[method-assign]  # the disk is the fault injected here

    def _refuse_or_append(self, content: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._append(content)

    def records(self) -> list[Record | Payload | Label]:
        reader, contents = SpoolReader(self.spool.folder), list[bytes]()
        while found := reader.read():
            contents += [frame.content for frame, _ in found if frame.start != START]
            reader.move({frame.segment: frame.end for frame, _ in found})
        return [decode(content, Layout()) for content in contents if content.strip(b" ")]

    def kinds(self) -> list[int]:
        return [record.kind for record in self.records() if isinstance(record, Record)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(room_module, "CHECK_EVERY_S", 0.0)
    monkeypatch.setattr(ledger_module, "CHECK_EVERY_S", 0.0)
    made = Desk(tmp_path)
    yield made
    made.ledger.close()


def test_a_call_is_on_disk_before_it_goes_upstream(desk: Desk) -> None:
    entry = make_entry("w")
    desk.ledger.dispatching(entry, make_attempt(entry))
    assert entry.dispatched
    assert desk.kinds() == [OPEN]


def test_a_call_that_never_went_upstream_is_one_record(desk: Desk) -> None:
    entry = make_entry("w", state="failed", status="refused")
    desk.ledger.record(entry)
    assert desk.kinds() == [CLOSE]


def test_the_ledger_names_its_worker(desk: Desk) -> None:
    assert desk.ledger.worker == desk.spool.worker == "w-1-1"


def test_bodies_are_kept_only_where_capture_is_on(desk: Desk) -> None:
    for capture in (False, True):
        desk.settings = LedgerSettings(headroom_mb=1, capture=capture)
        desk.ledger.record(make_entry("w", state="settled", payload=(b"question", b"answer")))
    assert [record.request for record in desk.records() if isinstance(record, Payload)] == [b"question"]


def test_a_label_that_the_disk_refuses_is_written_later_and_never_fails_a_call(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.full = True
    desk.ledger.label(make_label())
    assert not desk.ledger.can_record()
    desk.full = False
    assert desk.ledger.can_record()
    assert desk.records() == [make_label()]
    desk.ledger.label({"no": "label"})  # type: ignore[arg-type]  # what a faulty caller might do
    assert "could not be written" in caplog.text


def test_a_call_that_cannot_be_written_is_not_made(desk: Desk) -> None:
    desk.full = True
    entry = make_entry("w")
    with pytest.raises(LedgerUnavailable) as refusal:
        desk.ledger.dispatching(entry, make_attempt(entry))
    assert (refusal.value.status, refusal.value.retry_after_ms) == (503, 1000)
    assert not entry.dispatched
    assert not desk.ledger.can_record()
    desk.full = False
    assert desk.ledger.can_record()
    desk.ledger.dispatching(entry, make_attempt(entry))


def test_a_close_that_the_disk_refuses_is_kept_and_written_later(desk: Desk) -> None:
    entries = [make_entry("w") for _ in range(3)]
    attempts = [make_attempt(entry) for entry in entries]
    for entry, attempt in zip(entries, attempts, strict=True):
        desk.ledger.dispatching(entry, attempt)
        finish(entry, attempt)
    desk.full = True
    for entry in entries:
        desk.ledger.record(entry)
    assert not desk.ledger.can_record()
    late = make_entry("w")
    with pytest.raises(LedgerUnavailable):
        desk.ledger.dispatching(late, make_attempt(late))
    desk.full = False
    assert desk.ledger.can_record()
    assert desk.kinds() == [OPEN] * 3 + [CLOSE] * 3


def test_what_is_kept_in_memory_is_written_at_the_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.full = True
    desk.ledger.record(make_entry("w", state="settled"))
    desk.full = False
    desk.ledger.close()
    assert desk.kinds() == [CLOSE]


def test_memory_for_refused_records_is_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_module, "MOST_KEPT_BYTES", 5_000)
    desk.full = True
    for _ in range(50):
        desk.ledger.record(make_entry("w", state="settled"))
    assert sum(map(len, desk.ledger._kept)) == desk.ledger._kept_bytes <= 5_000
    assert "a record was lost" in caplog.text
    desk.full = False


def test_an_outage_is_logged_once_not_once_per_call(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.full = True
    for _ in range(20):
        desk.ledger.record(make_entry("w", state="settled"))
        desk.ledger.can_record()
    desk.full = False
    assert desk.ledger.can_record()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_recording_never_raises(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.ledger.record(make_entry("w", tries=None))
    assert "could not be closed" in caplog.text


def test_calls_are_refused_above_the_cap_but_open_ones_may_close(desk: Desk) -> None:
    entry = make_entry("w")
    attempt = make_attempt(entry)
    desk.ledger.dispatching(entry, attempt)
    desk.spool.append(b" " * 9 * 1024 * 1024)
    desk.settings = LedgerSettings(headroom_mb=1, spool_cap_mb=8)
    assert not desk.ledger.can_record()
    with pytest.raises(LedgerUnavailable, match="wait for the database"):
        desk.ledger.dispatching(make_entry("w"), attempt)
    desk.ledger.record(entry)
    desk.settings = LedgerSettings(headroom_mb=1, spool_cap_mb=16)
    assert desk.ledger.can_record()
    assert desk.kinds() == [OPEN, CLOSE]


def test_calls_are_refused_when_the_disk_is_nearly_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(desk.spool.folder)

    class Full:
        f_bavail = 10
        f_frsize = real.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    assert not desk.ledger.can_record()
    monkeypatch.undo()
    monkeypatch.setattr(room_module, "CHECK_EVERY_S", 0.0)
    assert desk.ledger.can_record()


def test_the_disk_is_looked_at_a_few_times_a_second_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, statvfs = list[Any](), os.statvfs

    def count(path: Any) -> Any:
        looks.append(path)
        return statvfs(path)

    monkeypatch.setattr(os, "statvfs", count)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    room = room_module.Room(tmp_path, lambda: LedgerSettings(headroom_mb=1))
    for _ in range(1_000):
        room.lack()
        clock[0] += 0.001
    assert 3 <= len(looks) <= 5


async def test_process_durability_waits_for_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.spool, "sync", lambda: pytest.fail("nothing is to be synced"))
    desk.ledger.record(make_entry("w", state="settled"))
    await desk.ledger.durable()


async def test_power_durability_covers_all_that_was_appended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.settings = LedgerSettings(headroom_mb=1, durability="power")
    covered, sync = list[int](), desk.spool.sync

    def count() -> None:
        covered.append(desk.spool.written)
        sync()

    monkeypatch.setattr(desk.spool, "sync", count)

    async def call() -> None:
        desk.ledger.record(make_entry("w", state="settled"))
        wanted = desk.spool.written
        await desk.ledger.durable()
        assert max(covered) >= wanted

    await asyncio.gather(*[call() for _ in range(100)])
    assert len(covered) < 20


async def test_a_failing_sync_refuses_those_who_wait_and_the_next_may_work(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.settings = LedgerSettings(headroom_mb=1, durability="power")
    desk.ledger.record(make_entry("w", state="settled"))

    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(desk.spool, "sync", fail)
        with pytest.raises(LedgerUnavailable):
            await desk.ledger.durable()
    await desk.ledger.durable()

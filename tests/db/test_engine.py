"""Connections to SQLite, as several processes open them at once."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from db.engine import set_journal, sqlite_module
from db.semantic_entries import open_semantic_entries


def open_raw(path: Path) -> sqlite3.Connection:
    raw: sqlite3.Connection = sqlite_module().connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    return raw


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file with a table and a journal of the old kind, as an earlier version left it."""
    path = tmp_path / "cache.db"
    with closing(open_raw(path)) as raw:
        raw.execute("CREATE TABLE t (a)")
    return path


def test_a_change_of_journal_waits_for_whoever_writes(plain: Path) -> None:
    with closing(open_raw(plain)) as writer, closing(open_raw(plain)) as other:
        writer.execute("BEGIN EXCLUSIVE")
        waiting = threading.Thread(target=set_journal, args=(other,))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        writer.execute("COMMIT")
        waiting.join(10)
        assert not waiting.is_alive()
        assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_change_of_journal_does_not_wait_for_ever(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.engine._JOURNAL_S", 0.05)
    with closing(open_raw(plain)) as writer, closing(open_raw(plain)) as other:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite_module().OperationalError, match="locked"):
            set_journal(other)


def test_what_is_no_lock_is_not_tried_again(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.engine.time.sleep", lambda _: pytest.fail("waited"))
    refused = pytest.raises(sqlite_module().OperationalError, match="readonly")
    with closing(sqlite_module().connect(f"file:{plain}?mode=ro", uri=True)) as raw, refused:
        set_journal(raw)


def test_many_open_one_file_at_once(tmp_path: Path) -> None:
    opened = []

    def open_one(path: Path, together: threading.Barrier) -> None:
        together.wait(10)
        with closing(open_semantic_entries(path, waits_s=5.0)):
            opened.append(path)

    for turn in range(60):
        path, together = tmp_path / f"{turn}.db", threading.Barrier(8)
        with closing(open_raw(path)) as raw:
            raw.execute("CREATE TABLE t (a)")
        threads = [threading.Thread(target=open_one, args=(path, together)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(opened) == 60 * 8

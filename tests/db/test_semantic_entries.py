"""Rows of the semantic cache's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db.semantic_entries import open_semantic_entries, tidy_semantic_entries


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_semantic_entries(tmp_path / "cache.db", waits_s=1.0)) as connection:
        yield connection


def test_tidying_deletes_some_at_a_time(raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.semantic_entries._AT_ONCE", 10)
    monkeypatch.setattr("db.semantic_entries._MOST_REMOVALS", 5)
    put = "INSERT INTO semantic_entries VALUES (?, 'n', x'00', ?, x'00', ?, 't', 'm', x'00', 0, 'q')"
    raw.executemany(put, [(seq, 0 if seq < 15 else 2**60, str(seq)) for seq in range(1, 101)])
    assert [tidy_semantic_entries(raw, 1000, 40) for _ in range(7)] == [20, 10, 10, 10, 10, 0, 0]
    assert raw.execute("SELECT count(*), min(seq) FROM semantic_entries").fetchone() == (40, 61)
    assert raw.execute("SELECT count(*) FROM semantic_removals").fetchone() == (5,)

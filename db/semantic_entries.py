"""Entries of the semantic cache in a SQLite file: appended in batches, followed by every worker of the machine.

Sequence numbers only grow, for entries and for removals, so that a worker reads what is new since it last looked.
The packed entries, token vectors and all, lie in a table of their own: reading vectors does not touch them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from db.engine import set_journal, sqlite_module

_SCHEMA = """
CREATE TABLE IF NOT EXISTS semantic_entries (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, partition BLOB NOT NULL, expires_at INTEGER NOT NULL,
  vector BLOB NOT NULL, id TEXT NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, key BLOB NOT NULL,
  stored_at INTEGER NOT NULL, question TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS semantic_packed (seq INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS semantic_removals (seq INTEGER PRIMARY KEY AUTOINCREMENT, entry INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS semantic_entries_by_id ON semantic_entries (id, namespace);
CREATE INDEX IF NOT EXISTS semantic_entries_by_namespace ON semantic_entries (namespace, seq);
CREATE INDEX IF NOT EXISTS semantic_entries_by_expiry ON semantic_entries (expires_at);
CREATE TRIGGER IF NOT EXISTS semantic_entries_removed AFTER DELETE ON semantic_entries BEGIN
  DELETE FROM semantic_packed WHERE seq = OLD.seq;
  INSERT INTO semantic_removals (entry)
    SELECT OLD.seq WHERE OLD.expires_at > CAST(strftime('%s', 'now') AS INTEGER) * 1000;
END;
"""
_ADD = """
INSERT OR IGNORE INTO semantic_entries
  (namespace, partition, expires_at, vector, id, tenant, model, key, stored_at, question)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PACK = "INSERT OR REPLACE INTO semantic_packed (seq, packed) VALUES (?, ?)"
_REMOVE = "DELETE FROM semantic_entries WHERE id = ?"
_NEW = """
SELECT seq, partition, expires_at, vector FROM semantic_entries WHERE namespace = ? AND seq > ? ORDER BY seq LIMIT ?
"""
_FIRST = "SELECT seq FROM semantic_entries WHERE namespace = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
_REMOVED = "SELECT seq, entry FROM semantic_removals WHERE seq > ? ORDER BY seq LIMIT ?"
_LAST_REMOVAL = "SELECT coalesce(max(seq), 0) FROM semantic_removals"
_PACKED = "SELECT packed FROM semantic_packed WHERE seq = ?"
_EXPIRE = """
DELETE FROM semantic_entries WHERE seq IN (SELECT seq FROM semantic_entries WHERE expires_at <= ? LIMIT ?)
"""
_EVICT = "DELETE FROM semantic_entries WHERE seq IN (SELECT seq FROM semantic_entries ORDER BY seq LIMIT ?)"
_FORGET = """
DELETE FROM semantic_entries WHERE seq IN (SELECT seq FROM semantic_entries WHERE stored_at < ? ORDER BY seq LIMIT ?)
"""
_KNOWN = "SELECT count(*) FROM sqlite_master WHERE name = 'semantic_entries'"
_COUNT = "SELECT count(*) FROM semantic_entries"
_TRIM = "DELETE FROM semantic_removals WHERE seq <= (SELECT max(seq) FROM semantic_removals) - ?"

_MOST_REMOVALS = 200_000
_AT_ONCE = 2_000
"""Rows deleted in one transaction: another writer waits no longer than that takes."""

StorageError: type[Exception] = sqlite_module().Error
"""What any of these calls may raise."""

Row = tuple[Any, ...]


def open_semantic_entries(path: Path, *, waits_s: float) -> sqlite3.Connection:
    """A connection to the file of entries, created when absent; waits so long for a lock.

    Text is read as bytes: text that is no UTF-8, where something is damaged, would fail a whole query.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection: sqlite3.Connection = sqlite_module().connect(
        str(path), timeout=waits_s, isolation_level=None, check_same_thread=False
    )
    set_journal(connection)
    connection.execute("PRAGMA synchronous=OFF")
    connection.executescript(_SCHEMA)
    connection.text_factory = bytes
    return connection


def write_semantic_entries(
    connection: sqlite3.Connection, entries: Iterable[tuple[Row, bytes]], removed: Iterable[str]
) -> None:
    """Delete entries by id, then append rows (``namespace`` to ``question``) with their packed form, in a transaction.

    An id that is already there is left as it is.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(_REMOVE, [(each,) for each in removed])
        for row, packed in entries:
            added = connection.execute(_ADD, row)
            if added.rowcount == 1:
                connection.execute(_PACK, (added.lastrowid, bytearray(packed)))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def read_new_entries(connection: sqlite3.Connection, namespace: str, after: int, most: int) -> list[Row]:
    """Sequence number, partition, expiry and vector of the entries after one, oldest first."""
    return connection.execute(_NEW, (namespace, after, most)).fetchall()


def find_first(connection: sqlite3.Connection, namespace: str, most: int) -> int:
    """The sequence number after which at most so many entries come."""
    row = connection.execute(_FIRST, (namespace, most)).fetchone()
    return int(row[0]) if row else 0


def read_new_removals(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, int]]:
    """Sequence numbers of removals after one, and of the entries removed."""
    return connection.execute(_REMOVED, (after, most)).fetchall()


def last_removal(connection: sqlite3.Connection) -> int:
    """The sequence number of the latest removal; 0 where there is none."""
    return int(connection.execute(_LAST_REMOVAL).fetchone()[0])


def read_packed(connection: sqlite3.Connection, sequence: Sequence[int]) -> dict[int, Any]:
    """The packed entries that are still there, by sequence number."""
    found = {seq: connection.execute(_PACKED, (seq,)).fetchone() for seq in sequence}
    return {seq: row[0] for seq, row in found.items() if row is not None}


def tidy_semantic_entries(connection: sqlite3.Connection, now_ms: int, most: int) -> int:
    """Delete some of the entries whose time is over and of the oldest above ``most``; returns how many went."""
    gone = connection.execute(_EXPIRE, (now_ms, _AT_ONCE)).rowcount
    surplus = connection.execute(_COUNT).fetchone()[0] - most
    if surplus > 0:
        gone += connection.execute(_EVICT, (min(surplus, _AT_ONCE),)).rowcount
    connection.execute(_TRIM, (_MOST_REMOVALS,))
    return gone


def forget_questions_before(connection: sqlite3.Connection, stored_at: int | None) -> None:
    """Delete the questions answered before then (epoch ms; None: all of them), a bounded number at a time."""
    if not connection.execute(_KNOWN).fetchone()[0]:
        return
    before = 2**62 if stored_at is None else stored_at
    while connection.execute(_FORGET, (before, _AT_ONCE)).rowcount == _AT_ONCE:
        pass

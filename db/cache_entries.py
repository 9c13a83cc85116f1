"""Cache entries in a SQLite file of their own, so that the hot path never waits for the ledger's writer.

Bytes are bound as ``bytearray``: for ``bytes`` the driver first asks every object whether it adapts itself.

Reads take about 10 µs and run on the event loop; writes come in batches from one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from db.engine import set_journal, sqlite_module
from db.semantic_entries import forget_questions_before

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cache_entries (
  key BLOB PRIMARY KEY, tenant TEXT NOT NULL, model TEXT NOT NULL, call_id TEXT NOT NULL, body BLOB NOT NULL,
  stored_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, cost_nusd INTEGER, deployment TEXT, provider TEXT,
  fingerprint TEXT, hits INTEGER NOT NULL DEFAULT 0,
  claimed_at INTEGER, endpoint TEXT, namespace TEXT, latency_ms REAL, request BLOB
)
"""
"""Bodies lie in the order they came; a table sorted by its random keys rewrites a page for each.

What it takes to ask again (``claimed_at`` on) is read only by prefetch.
"""
_INDEX = "CREATE INDEX IF NOT EXISTS cache_entries_by_expiry ON cache_entries (expires_at)"
_COLUMNS = "key, tenant, model, call_id, body, stored_at, expires_at, cost_nusd, deployment, provider, fingerprint"
_OPENING_S = 30.0
"""Workers that start at once wait for each other while the file is made, or one of an earlier version is copied."""

_FIND = f"SELECT {_COLUMNS} FROM cache_entries WHERE key = ? AND expires_at > ?"  # noqa: S608 - columns are ours
_PUT = f"""
INSERT OR REPLACE INTO cache_entries ({_COLUMNS}, endpoint, namespace, latency_ms, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608 - as above
_HIT = "UPDATE cache_entries SET hits = hits + ? WHERE key = ?"
_EXPIRE = "DELETE FROM cache_entries WHERE expires_at <= ?"
_EVICT = """
DELETE FROM cache_entries WHERE rowid IN (SELECT rowid FROM cache_entries ORDER BY stored_at LIMIT ?)
"""
_OLDEST = "SELECT min(stored_at) FROM cache_entries"

StorageError: type[Exception] = sqlite_module().Error
"""What any of these calls may raise."""


def open_entries(path: Path, waits_s: float = 0.05) -> sqlite3.Connection:
    """A connection to the file of entries, created or brought up to date; waits at most so long for a lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection: sqlite3.Connection = sqlite_module().connect(
        str(path), timeout=_OPENING_S, isolation_level=None, check_same_thread=False
    )
    set_journal(connection)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(_SCHEMA)
    if _is_earlier(connection):
        _bring_up_to_date(connection)
    connection.execute(_INDEX)
    connection.execute(f"PRAGMA busy_timeout = {round(waits_s * 1000)}")
    return connection


def _is_earlier(connection: sqlite3.Connection) -> bool:
    """Whether an earlier version made the table: sorted by its keys, some of them with fewer columns."""
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'cache_entries'").fetchone()
    return "WITHOUT ROWID" in made[0]


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Copy an earlier version's entries; of several workers that start at once, one does it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_earlier(connection):
            names = ", ".join(row[1] for row in connection.execute("PRAGMA table_info(cache_entries)"))
            connection.execute("ALTER TABLE cache_entries RENAME TO earlier_entries")
            connection.execute(_SCHEMA)
            copy = f"INSERT INTO cache_entries ({names}) SELECT {names} FROM earlier_entries"  # noqa: S608 - our columns
            connection.execute(copy)
            connection.execute("DROP TABLE earlier_entries")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def find_entry(connection: sqlite3.Connection, key: bytes, now_ms: int) -> tuple[Any, ...] | None:
    """The columns of a live entry, in the order of ``StoredAnswer``'s fields."""
    row: tuple[Any, ...] | None = connection.execute(_FIND, (bytearray(key), now_ms)).fetchone()
    return row


def write_entries(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]], hits: Mapping[bytes, int]) -> None:
    """Store rows and add hit counts in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(_PUT, rows)
        connection.executemany(_HIT, [(count, key) for key, count in hits.items()])
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def expire_entries(connection: sqlite3.Connection, now_ms: int) -> int:
    """Delete entries whose time is over; returns how many went."""
    return connection.execute(_EXPIRE, (now_ms,)).rowcount


def shrink_entries(connection: sqlite3.Connection, max_bytes: int) -> int:
    """Delete the oldest entries while the live pages exceed ``max_bytes``; returns how many went.

    Questions of the semantic layer lie in the same file; those older than every answer left go with them.
    """
    pages, free, size = (
        connection.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count", "page_size")
    )
    live = (pages - free) * size
    if live <= max_bytes:
        return 0
    count = connection.execute("SELECT count(*) FROM cache_entries").fetchone()[0]
    surplus = max(1, round(count * (live - 0.9 * max_bytes) / live))
    gone = connection.execute(_EVICT, (surplus,)).rowcount
    forget_questions_before(connection, connection.execute(_OLDEST).fetchone()[0])
    return gone

"""Entries of the cache's file that are asked for again before they expire: listed, claimed, and what a day may spend.

Claims and reservations are single statements, so of several workers only one gets the entry or the last of the money.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from db.cache_entries import open_entries

_WAITS_S = 1.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS prefetch_spending (day INTEGER PRIMARY KEY, spent_nusd INTEGER NOT NULL)"
_DUE = """
SELECT key, tenant, model, stored_at, expires_at, cost_nusd, endpoint, namespace, latency_ms, hits FROM cache_entries
WHERE expires_at > ? AND expires_at <= ? AND hits > 0 AND latency_ms IS NOT NULL AND fingerprint IS NULL
  AND (claimed_at IS NULL OR claimed_at <= ?)
ORDER BY hits DESC, expires_at LIMIT ?
"""
_CLAIM = """
UPDATE cache_entries SET claimed_at = ?
WHERE key = ? AND stored_at = ? AND expires_at > ? AND (claimed_at IS NULL OR claimed_at <= ?) RETURNING request
"""
_RESERVE = """
INSERT INTO prefetch_spending (day, spent_nusd) VALUES (?, ?)
ON CONFLICT (day) DO UPDATE SET spent_nusd = spent_nusd + excluded.spent_nusd
WHERE spent_nusd + excluded.spent_nusd <= ? RETURNING spent_nusd
"""
_SETTLE = "UPDATE prefetch_spending SET spent_nusd = spent_nusd + ? WHERE day = ?"


def open_refreshes(path: Path) -> sqlite3.Connection:
    """A connection to the file of entries with the table of what was spent; waits at most a second for a lock."""
    connection = open_entries(path, waits_s=_WAITS_S)
    connection.execute(_SCHEMA)
    return connection


def list_due(connection: sqlite3.Connection, now_ms: int, before_ms: int, claim_ms: int, limit: int) -> list[Any]:
    """Entries with a recipe and hits that expire before a time and are nobody's, in the order of ``Due``'s fields."""
    return connection.execute(_DUE, (now_ms, before_ms, now_ms - claim_ms, limit)).fetchall()


def claim_due(connection: sqlite3.Connection, key: bytes, stored_at: int, now_ms: int, claim_ms: int) -> bytes | None:
    """The request of an entry that is still the one of ``stored_at``, if it was nobody's until now."""
    values = (now_ms, bytearray(key), stored_at, now_ms, now_ms - claim_ms)
    row = connection.execute(_CLAIM, values).fetchone()
    return row[0] if row else None


def reserve_spending(connection: sqlite3.Connection, day: int, amount_nusd: int, limit_nusd: int) -> bool:
    """Add to what the day has spent, unless that would be more than the limit."""
    if amount_nusd > limit_nusd:
        return False
    return connection.execute(_RESERVE, (day, amount_nusd, limit_nusd)).fetchone() is not None


def settle_spending(connection: sqlite3.Connection, day: int, difference_nusd: int) -> None:
    """Correct what the day has spent."""
    connection.execute(_SETTLE, (difference_nusd, day))

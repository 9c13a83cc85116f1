"""What lies in the cache's file, for people: counted, listed, and deleted by what an entry belongs to.

Reads walk a whole table, in a thread and without a lock; deletions come in small transactions, so that a worker which
stores entries meanwhile waits no longer than one of them takes.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from db.cache_entries import open_entries
from db.semantic_entries import open_semantic_entries

_WAITS_S = 5.0
_AT_ONCE = 200
_BREATHER_S = 0.005
"""Between transactions: a worker gives up a write after waiting 50 ms for its turn."""
_TABLES = {"exact": ("cache_entries", "key", "call_id"), "semantic": ("semantic_entries", "seq", "id")}
"""Each layer's table, its primary key, and its column of call ids."""
_PARTITION = {
    "exact": "call_id IN (SELECT id FROM semantic_entries WHERE partition = ?)",
    "semantic": "partition = ?",
}
_TOP = """
SELECT call_id, tenant, model, hits, stored_at, expires_at, cost_nusd,
  (SELECT question FROM semantic_entries WHERE id = call_id LIMIT 1)
FROM (SELECT * FROM cache_entries WHERE expires_at > ? AND {conditions} ORDER BY hits DESC, stored_at DESC LIMIT ?)
"""


@dataclass(slots=True, frozen=True)
class Selection:
    """Entries that meet every condition that is given; all of them where none is. Times in epoch milliseconds."""

    tenant: str | None = None
    model: str | None = None
    partition: bytes | None = None
    """Sixteen bytes; of the exact layer those that were answers in this partition."""
    call_ids: frozenset[str] | None = None
    stored_before: int | None = None


@dataclass(slots=True, frozen=True)
class TopEntry:
    """An entry of the exact layer and how often it was served; times in epoch milliseconds."""

    call_id: str
    tenant: str
    model: str
    hits: int
    stored_at: int
    expires_at: int
    cost_nusd: int | None
    question: str | None = None
    """Where the semantic layer knows it."""


@contextmanager
def opened_contents(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to both layers' tables, created when absent; waits some seconds for a lock."""
    open_entries(path).close()
    connection = open_semantic_entries(path, waits_s=_WAITS_S)
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        yield connection
    finally:
        connection.close()


def count_live(connection: sqlite3.Connection, layer: str, now_ms: int) -> int:
    """How many entries of a layer could be served now."""
    query = f"SELECT count(*) FROM {_TABLES[layer][0]} WHERE expires_at > ?"  # noqa: S608 - tables are ours
    return int(connection.execute(query, (now_ms,)).fetchone()[0])


def list_top(connection: sqlite3.Connection, selection: Selection, limit: int, now_ms: int) -> list[TopEntry]:
    """The live entries that were served most often, those first."""
    conditions, values = _write_conditions("exact", selection)
    rows = connection.execute(_TOP.format(conditions=conditions), (now_ms, *values, limit))
    return [TopEntry(*row) for row in rows]


def find_selected(connection: sqlite3.Connection, layer: str, selection: Selection) -> dict[Any, int]:
    """Primary keys of the entries that are meant, with the time at which each expires."""
    table, key, _ = _TABLES[layer]
    conditions, values = _write_conditions(layer, selection)
    query = f"SELECT {key}, expires_at FROM {table} WHERE {conditions}"  # noqa: S608 - conditions are ours
    return dict(connection.execute(query, values).fetchall())


def delete_selected(connection: sqlite3.Connection, layer: str, found: dict[Any, int]) -> None:
    """Delete what ``find_selected`` found, except what was stored anew meanwhile."""
    table, key, _ = _TABLES[layer]
    delete = f"DELETE FROM {table} WHERE {key} = ? AND expires_at = ?"  # noqa: S608 - tables are ours
    rows = list(found.items())
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(delete, rows[start : start + _AT_ONCE])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        time.sleep(_BREATHER_S)


def _write_conditions(layer: str, selection: Selection) -> tuple[str, list[Any]]:
    """A condition in SQL and its values."""
    texts = {
        "tenant": "tenant = ?",
        "model": "model = ?",
        "partition": _PARTITION[layer],
        "call_ids": f"{_TABLES[layer][2]} IN (SELECT value FROM json_each(?))",  # noqa: S608 - columns are ours
        "stored_before": "stored_at < ?",
    }
    given = {name: value for name, value in asdict(selection).items() if value is not None}
    if "call_ids" in given:
        given["call_ids"] = orjson.dumps(list(given["call_ids"])).decode()
    if "partition" in given:
        given["partition"] = bytearray(given["partition"])
    return " AND ".join(["1", *(texts[name] for name in given)]), list(given.values())

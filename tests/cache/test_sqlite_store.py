"""Entries in a SQLite file: found again at once and after a restart, expired, counted, bounded."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from backend.cache import sqlite_store as module
from backend.cache.exact import StoreUnavailable
from backend.cache.sqlite_store import SQLiteStore
from backend.call import StoredAnswer
from db.cache_entries import expire_entries, open_entries, shrink_entries, write_entries
from db.semantic_entries import open_semantic_entries, write_semantic_entries

MAX_BYTES = 10**9


def stored(number: int = 0, body: bytes = b'{"a":1}', lives_s: float = 60.0) -> StoredAnswer:
    now_ms = time.time_ns() // 1_000_000
    key = number.to_bytes(16, "big")
    return StoredAnswer(key, "tenant", "m", f"call-{number}", body, now_ms, now_ms + int(lives_s * 1000), 5, "d", "p")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_S", 0.001)


async def written(store: SQLiteStore) -> None:
    """Everything pending is on disk."""
    assert store._task is not None
    await store._task


def hits(path: Path, key: bytes) -> int:
    connection = open_entries(path)
    row = connection.execute("SELECT hits FROM cache_entries WHERE key = ?", (key,)).fetchone()
    connection.close()
    return int(row[0])


async def test_an_entry_is_found_at_once_and_after_it_was_written(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db")
    store.put(stored(), MAX_BYTES)
    assert await store.find(stored().key, 50) is not None
    await written(store)
    assert store._pending == {}
    found = await store.find(stored().key, 50)
    assert found is not None
    assert (found.body, found.tenant, found.cost_nusd) == (b'{"a":1}', "tenant", 5)
    assert await store.find(b"x" * 16, 50) is None
    await store.close()


async def test_entries_outlive_the_process_and_are_seen_by_its_siblings(tmp_path: Path) -> None:
    first, second = SQLiteStore(tmp_path / "cache.db"), SQLiteStore(tmp_path / "cache.db")
    first.put(stored(1), MAX_BYTES)
    await first.close()
    assert await second.find(stored(1).key, 50) is not None
    await second.close()


async def test_an_entry_is_gone_when_its_time_is_over(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db")
    store.put(stored(1, lives_s=0), MAX_BYTES)
    assert await store.find(stored(1).key, 50) is None
    await written(store)
    assert await store.find(stored(1).key, 50) is None
    assert expire_entries(store._writing, time.time_ns() // 1_000_000) == 1
    await store.close()


async def test_the_later_entry_wins(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db")
    for body in (b'{"a":1}', b'{"a":2}', b'{"a":3}'):
        store.put(stored(1, body), MAX_BYTES)
        await asyncio.sleep(0)
    found = await store.find(stored(1).key, 50)
    assert found is not None
    assert found.body == b'{"a":3}'
    await store.close()


async def test_hits_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    store = SQLiteStore(path)
    store.put(stored(1), MAX_BYTES)
    await written(store)
    for _ in range(7):
        await store.find(stored(1).key, 50)
    assert await store.peek(stored(1).key, 50) is not None
    await store.close()
    assert hits(path, stored(1).key) == 7


async def test_a_replaced_entry_counts_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    store = SQLiteStore(path)
    store.put(stored(1), MAX_BYTES)
    await written(store)
    await store.find(stored(1).key, 50)
    await written(store)
    store.put(stored(1), MAX_BYTES)
    await store.close()
    assert hits(path, stored(1).key) == 0


async def test_the_oldest_go_when_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY_S", -1.0)
    store = SQLiteStore(tmp_path / "cache.db")
    old_ms = time.time_ns() // 1_000_000 - 10_000
    for number in range(200):
        entry = stored(number, b'{"a":"' + b"x" * 4000 + b'"}')
        store.put(entry._replace(stored_at=old_ms + number), 400_000)
        if number % 20 == 19:
            await written(store)
    await written(store)
    kept = [number for number in range(200) if await store.find(stored(number).key, 50)]
    assert 20 < len(kept) < 120
    assert kept == list(range(200 - len(kept), 200))
    await store.close()


async def test_a_writer_that_is_too_far_behind_drops_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_PENDING", 3)
    store = SQLiteStore(tmp_path / "cache.db")
    for number in range(5):
        store.put(stored(number), MAX_BYTES)
    assert store.dropped == 2
    await store.close()


async def test_a_locked_file_drops_the_batch_and_the_next_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    store = SQLiteStore(path)
    rival = open_entries(path)
    rival.execute("BEGIN IMMEDIATE")
    store.put(stored(1), MAX_BYTES)
    await written(store)
    assert store.dropped == 1
    rival.execute("ROLLBACK")
    rival.close()
    store.put(stored(2), MAX_BYTES)
    await written(store)
    assert await store.find(stored(1).key, 50) is None
    assert await store.find(stored(2).key, 50) is not None
    await store.close()


async def test_a_file_that_broke_is_a_store_that_is_away(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db")
    store._reading.close()
    with pytest.raises(StoreUnavailable, match="cache file"):
        await store.find(b"x" * 16, 50)
    store._reading = sqlite3.connect(":memory:")
    await store.close()


async def test_many_tasks_find_and_put_at_once(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db")

    async def visit(number: int) -> bool:
        found = await store.find(stored(number % 50).key, 50)
        if found is None:
            store.put(stored(number % 50), MAX_BYTES)
        await asyncio.sleep(0)
        return (await store.find(stored(number % 50).key, 50)) is not None

    assert all(await asyncio.gather(*(visit(number) for number in range(1000))))
    await store.close()


def test_questions_go_with_the_answers_they_lead_to(tmp_path: Path) -> None:
    path, times = tmp_path / "cache.db", range(1000, 1400)
    answers, questions = open_entries(path), open_semantic_entries(path, waits_s=1.0)
    rest = (10**15, None, None, None, None, None, None, None, None)
    body = bytearray(4000)
    rows = [(bytearray(at.to_bytes(16, "big")), "t", "m", f"call-{at}", body, at, *rest) for at in times]
    write_entries(answers, rows, {})
    where = ("space", bytearray(16), 10**15, bytearray(32))
    asked = [((*where, f"call-{at}", "t", "m", bytearray(16), at, "why?"), b"packed") for at in times]
    write_semantic_entries(questions, asked, set())
    assert shrink_entries(answers, 10**6) > 0
    (oldest,) = answers.execute("SELECT min(stored_at) FROM cache_entries").fetchone()
    assert oldest > times[0]
    left = [at for (at,) in questions.execute("SELECT stored_at FROM semantic_entries ORDER BY stored_at")]
    assert left == list(range(oldest, times[-1] + 1))
    answers.close()
    questions.close()

"""Entries in a file: found by every worker of the machine within a moment, after a restart, and never once removed."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic import embedded_index as module
from backend.cache.semantic.embedded_index import EmbeddedIndex
from backend.cache.semantic.index import namespace_of
from db.semantic_entries import open_semantic_entries
from tests.cache.semantic.embedded import EMBEDDER, opened
from tests.cache.semantic.entries import DIMENSION, PARTITION, entry, ids, scatter, unit, until, until_found


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_S", 0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The file itself."""
    with closing(open_semantic_entries(path, waits_s=1.0)) as connection:
        yield connection


async def test_an_entry_is_found_whole_with_its_cosine(path: Path) -> None:
    async with opened(path) as index:
        index.add(entry(1, unit(1, 0)))
        index.add(entry(2, unit(1, 1)))
        await until(lambda: len(index) == 2)
        found = await index.nearest(PARTITION, unit(1, 0.1), 5)
        assert [each.id for each, _ in found] == ["call-1", "call-2"]
        assert found[0][1] == pytest.approx(float(unit(1, 0) @ unit(1, 0.1)), abs=1e-3)
        assert (found[0][0].question, found[0][0].key, found[0][0].tenant) == ("question 1?", b"\x01" * 16, "t")
        assert found[0][0].embedding.tokens is not None
        assert await index.nearest(b"q" * 16, unit(1), 5) == []


async def test_workers_see_each_others_entries_and_removals(path: Path) -> None:
    async with opened(path) as one, opened(path) as other:
        began = time.monotonic()
        one.add(entry(1))
        await until_found(other, 1)
        assert time.monotonic() - began < 1.5
        other.remove(["call-1"])
        assert await ids(other, 1) == []
        await until_found(one, 1, there=False)
        await until(lambda: len(one) == len(other) == 0)
        assert time.monotonic() - began < 3.0


WORKER = """
import asyncio, sys
from pathlib import Path
from backend.cache.semantic.embedded_index import EmbeddedIndex
from tests.cache.semantic.entries import entry

async def store():
    index = EmbeddedIndex(Path(sys.argv[1]), "test-embedder", 16, 1000)
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
        index.add(entry(number))
    await index.close()

asyncio.run(store())
"""


async def test_processes_share_the_file(path: Path) -> None:
    async with opened(path) as index:
        commands = [[sys.executable, "-c", WORKER, str(path), str(first)] for first in (0, 50)]
        started = [await asyncio.create_subprocess_exec(*command) for command in commands]
        assert [await process.wait() for process in started] == [0, 0]
        await until(lambda: len(index) == 100)
        assert all([await ids(index, number) == [f"call-{number}"] for number in range(100)])


async def test_a_restart_loads_in_the_background_and_finds_what_was_stored(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as index:
        for number in range(300):
            index.add(entry(number))
    monkeypatch.setattr(module, "_CHUNK", 16)
    index = EmbeddedIndex(path, EMBEDDER, DIMENSION, 1000)
    assert await ids(index, 299) in ([], *([f"call-{number}"] for number in range(300)))
    await until(lambda: index.loaded)
    assert all([await ids(index, number) == [f"call-{number}"] for number in range(300)])
    await index.close()


async def test_another_embedder_or_dimension_is_another_namespace(path: Path) -> None:
    async with opened(path) as index:
        index.add(entry(1))
        await until_found(index, 1)
    async with opened(path, "another-embedder") as index:
        assert (len(index), await ids(index, 1)) == (0, [])
    async with opened(path, EMBEDDER, 8) as index:
        assert len(index) == 0
        with pytest.raises(StoreUnavailable, match="dimension"):
            await index.nearest(PARTITION, scatter(1), 1)
        index.add(entry(2))
        assert index.dropped == 1
    assert namespace_of("a", 12) != namespace_of("a1", 2)


async def test_an_entry_is_not_found_when_its_time_is_over(path: Path) -> None:
    async with opened(path) as index:
        index.add(entry(1, lives_s=0.3))
        index.add(entry(2))
        await until(lambda: len(index) == 2)
        await until_found(index, 1, there=False)
        await until(lambda: len(index) == 1)
        assert await ids(index, 1) == ["call-2"]


async def test_what_is_gone_from_the_file_is_not_found_even_before_its_removal_is_heard_of(
    path: Path, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as index:
        for number in range(40):
            index.add(entry(number))
        await until(lambda: len(index) == 40)
        monkeypatch.setattr(index._follower, "_every_s", 3600.0)
        await asyncio.to_thread(index._follower.stop)
        raw.execute("DELETE FROM semantic_entries WHERE id IN ('call-1', 'call-2', 'call-3')")
        assert not {"call-1", "call-2", "call-3"} & set(await ids(index, 1, 10))
        assert len(await ids(index, 1, 10)) == 10
        assert raw.execute("SELECT count(*) FROM semantic_removals").fetchone() == (3,)
        assert raw.execute("SELECT count(*) FROM semantic_packed").fetchone() == (37,)


async def test_the_same_call_is_kept_once(path: Path) -> None:
    async with opened(path) as index:
        for _ in range(2):
            index.add(entry(1))
            await until_found(index, 1)
        assert await ids(index, 1, 5) == ["call-1"]


async def test_the_oldest_go_from_memory_and_from_the_file(
    path: Path, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY_S", -1.0)
    async with opened(path, most=50) as index:
        for number in range(120):
            index.add(entry(number, lives_s=0.0 if number < 20 else 60.0))
            if number % 10 == 9:
                await until(lambda: not index._pending)
        await until(index._task.done)
        assert raw.execute("SELECT count(*), min(id) FROM semantic_entries").fetchone() == (50, b"call-100")
        await until_found(index, 119)
        await until(lambda: len(index) <= 50)
    async with opened(path, most=50) as index:
        assert len(index) == 50


async def test_the_event_loop_goes_on_while_a_large_file_is_loaded(path: Path) -> None:
    async with opened(path, most=10_000) as index:
        for number in range(3000):
            index.add(entry(number))
    index = EmbeddedIndex(path, EMBEDDER, DIMENSION, 10_000)
    turns = 0
    while not index.loaded:
        await asyncio.sleep(0)
        turns += 1
    await index.close()
    assert turns > 20

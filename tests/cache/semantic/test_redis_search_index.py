"""A Redis with the query engine: the exact commands it is told, and what is made of its answers.

The live tests say the same to a real server where ``GOVERNOR_TEST_REDIS_SEARCH_URL`` names one (Redis 8, Redis Stack).
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import Redis as PlainRedis

from backend.cache.exact import StoreUnavailable
from backend.cache.semantic.index import namespace_of
from backend.cache.semantic.redis_link import Names, label_of
from tests.cache.semantic.entries import DIMENSION, PARTITION, entry, ids, scatter, unit, until, until_found
from tests.cache.semantic.query_engine import QueryEngineServer
from tests.cache.semantic.redis_rig import EMBEDDER, opened, settled

LIVE = os.environ.get("GOVERNOR_TEST_REDIS_SEARCH_URL")
"""Read before the tests' environment is cleaned."""
NAMES = Names(namespace_of(EMBEDDER, DIMENSION))
INDEX = NAMES.index.encode()


@pytest.fixture
def server() -> QueryEngineServer:
    return QueryEngineServer()


@pytest.fixture
async def url(server: QueryEngineServer) -> AsyncIterator[str]:
    async with server.listening() as found:
        yield found


async def test_the_index_is_created_once_for_all_workers(server: QueryEngineServer, url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        assert one.mode == other.mode == "redis query engine"
    assert server.told(b"FT.CREATE") == [
        [
            *(b"FT.CREATE", INDEX, b"ON", b"HASH", b"PREFIX", b"1", INDEX + b":entry:", b"SCHEMA"),
            *(b"partition", b"TAG", b"tenant", b"TAG", b"vector", b"VECTOR", b"HNSW", b"6"),
            *(b"TYPE", b"FLOAT32", b"DIM", b"16", b"DISTANCE_METRIC", b"COSINE"),
        ]
    ]


async def test_entries_are_hashes_with_a_time_to_live(server: QueryEngineServer, url: str) -> None:
    made = entry(1)
    async with opened(url) as index:
        index.add(made)
        await settled(index)
        assert (index.dropped, server.told(b"XADD")) == (0, [])
    key = NAMES.key(label_of("call-1")).encode()
    assert key.startswith(NAMES.prefix.encode())
    assert server.told(b"PEXPIREAT") == [[b"PEXPIREAT", key, str(made.expires_at).encode()]]
    assert server.hashes[key].keys() == {b"partition", b"tenant", b"expires_at", b"vector", b"entry"}
    assert server.hashes[key][b"partition"] == PARTITION.hex().encode()
    assert server.hashes[key][b"vector"] == made.embedding.vector.tobytes()


async def test_a_look_up_is_one_search_within_the_partition(server: QueryEngineServer, url: str) -> None:
    async with opened(url) as index:
        for number in range(9):
            index.add(entry(number))
        index.add(entry(20, scatter(3), partition=b"q" * 16, tenant="other"))
        await settled(index)
        found = await index.nearest(PARTITION, scatter(3), 5)
        assert [found[0][0].id, len(found)] == ["call-3", 5]
        assert found[0][1] == pytest.approx(1.0, abs=1e-3)
        assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
        assert {each.tenant for each, _ in found} == {"t"}
    query = b"(@partition:{" + PARTITION.hex().encode() + b"})=>[KNN 5 @vector $v AS score]"
    told = [*(b"PARAMS", b"2", b"v", scatter(3).tobytes()), *(b"RETURN", b"1", b"entry", b"LIMIT", b"0", b"5")]
    assert server.told(b"FT.SEARCH") == [[b"FT.SEARCH", INDEX, query, *told, b"DIALECT", b"2"]]


async def test_removed_entries_are_deleted(server: QueryEngineServer, url: str) -> None:
    async with opened(url) as index:
        index.add(entry(1))
        await settled(index)
        index.remove(["call-1"])
        assert await ids(index, 1) == []
        await settled(index)
    assert server.hashes == {}


async def test_after_a_flush_the_index_is_created_anew(server: QueryEngineServer, url: str) -> None:
    async with opened(url) as index:
        server.flush()
        index.add(entry(1))
        await until_found(index, 1)
        assert len(server.told(b"FT.CREATE")) == 2
        assert index.breaker == "closed"


@pytest.mark.parametrize(
    "words",
    [
        "governor:semantic:x: no such index",
        "Unknown index name (or name is an alias itself)",
        "SEARCH_INDEX_NOT_FOUND Index not found: x",
    ],
)
async def test_a_missing_index_is_a_miss_in_the_words_of_every_version(
    server: QueryEngineServer, url: str, words: str
) -> None:
    async with opened(url) as index:
        server.refusals[b"FT.SEARCH"] = words
        assert await ids(index, 1) == []
        await until(lambda: len(server.told(b"FT.CREATE")) == 2)


async def test_an_index_that_is_there_is_used_as_it_is(server: QueryEngineServer, url: str) -> None:
    server.indexes.append(INDEX)
    async with opened(url) as index:
        assert index.mode == "redis query engine"
    assert server.told(b"FT.CREATE") == []


async def test_a_worker_that_created_it_first_is_no_failure(server: QueryEngineServer, url: str) -> None:
    server.refusals[b"FT.CREATE"] = "Index already exists"
    async with opened(url) as index:
        assert (index.mode, index._follower.failures) == ("redis query engine", 0)


@pytest.mark.parametrize(
    "refusal", ["READONLY You can't write against a read only replica.", "OOM command not allowed"]
)
async def test_a_server_that_cannot_create_the_index_now_is_asked_again(
    server: QueryEngineServer, url: str, refusal: str
) -> None:
    server.refusals[b"FT.CREATE"] = refusal
    async with opened(url) as index:
        assert index.mode == "redis query engine"
        assert await ids(index, 1) == []
        server.refusals.clear()
        await until(lambda: server.indexes)


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (b"FT._LIST", "ERR unknown command 'FT._LIST', with args beginning with: "),
        (b"FT._LIST", "NOPERM this user has no permissions to run the 'ft._list' command"),
        (b"FT.CREATE", "Unsupported field type"),
    ],
)
async def test_a_server_that_cannot_search_is_a_plain_one(
    server: QueryEngineServer, url: str, command: bytes, refusal: str
) -> None:
    server.refusals[command] = refusal
    server.answers |= {b"GET": b"epoch", b"XRANGE": [], b"XREAD": None, b"XREVRANGE": [], b"SCAN": [b"0", []]}
    async with opened(url) as index:
        assert index.mode == "redis, own index"
        assert index._writer.announces


ANSWERS = {
    "nothing": [0],
    "expired": [1, NAMES.key(label_of("call-1")).encode(), None],
    "no fields": [1, NAMES.key(label_of("call-1")).encode(), []],
    "a pickle": [1, NAMES.key(label_of("call-1")).encode(), [b"entry", b"cposix\nsystem\n(S'exit'\ntR."]],
    "numbers": [1, 2, 3],
    "odd fields": [1, b"x", [b"entry"]],
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_is_no_entry_is_not_there(server: QueryEngineServer, url: str, name: str) -> None:
    async with opened(url) as index:
        server.answers[b"FT.SEARCH"] = ANSWERS[name]
        assert await index.nearest(PARTITION, scatter(1), 5) == []
        assert index.damaged == (name not in {"nothing", "expired"})


@pytest.mark.parametrize("answer", [5, b"text", [], [1, b"key"]])
async def test_an_answer_of_another_form_is_a_store_that_is_away(
    server: QueryEngineServer, url: str, answer: object
) -> None:
    async with opened(url) as index:
        server.answers[b"FT.SEARCH"] = answer
        with pytest.raises(StoreUnavailable, match="not understood"):
            await index.nearest(PARTITION, scatter(1), 5)


async def test_an_entry_that_expires_during_the_search_leaves_the_others(server: QueryEngineServer, url: str) -> None:
    async with opened(url) as index:
        for number in range(3):
            index.add(entry(number))
        await settled(index)
        server.expired.add(NAMES.key(label_of("call-1")).encode())
        assert sorted(await ids(index, 1, 3)) == ["call-0", "call-2"]


async def test_a_server_that_fails_opens_the_breaker(server: QueryEngineServer, url: str) -> None:
    async with opened(url) as index:
        server.refusals[b"FT.SEARCH"] = "LOADING Redis is loading the dataset in memory"
        said = []
        for _ in range(4):
            with pytest.raises(StoreUnavailable) as caught:
                await index.nearest(PARTITION, scatter(1), 5)
            said.append(str(caught.value))
        assert said[-1] == "redis: breaker open"


@pytest.fixture
def live() -> Any:
    """An embedder's name of its own, whose keys and index are deleted afterwards."""
    if LIVE is None:
        pytest.skip("GOVERNOR_TEST_REDIS_SEARCH_URL names no Redis with the query engine")
    embedder = f"test-{uuid.uuid4()}"
    yield embedder
    with PlainRedis.from_url(LIVE, protocol=2) as client:
        client.execute_command("FT.DROPINDEX", Names(namespace_of(embedder, DIMENSION)).index, "DD")


async def test_a_live_query_engine_finds_expires_and_forgets(live: str) -> None:
    assert LIVE is not None
    async with opened(LIVE, live) as one, opened(LIVE, live) as other:
        assert one.mode == "redis query engine"
        for number in range(50):
            one.add(entry(number))
        one.add(entry(60, unit(1), lives_s=1.5))
        one.add(entry(70, scatter(3), partition=b"q" * 16))
        await until_found(other, 49)
        assert all([await ids(other, number) == [f"call-{number}"] for number in range(50)])
        assert await ids(other, 3, 5, b"q" * 16) == ["call-70"]
        one.remove(["call-7"])
        await until_found(other, 7, there=False)
        await asyncio.sleep(2.0)
        assert "call-60" not in [each.id for each, _ in await other.nearest(PARTITION, unit(1), 50)]
        assert (one.dropped, one.damaged, other.damaged) == (0, 0, 0)

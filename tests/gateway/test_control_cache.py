"""The control endpoints of the cache: looking changes nothing, purging is exact, complete and on record."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend import actions
from backend.auth.keys import KeyDraft, create_key
from backend.auth.ring import LiveKeys, console_credential
from backend.cache import contents as contents_module
from backend.cache import sqlite_store
from backend.cache.contents import SQLiteContents
from backend.cache.exact import ExactCache
from backend.cache.layers import Cache, LazySemantic, SecondLayer
from backend.cache.sqlite_store import SQLiteStore
from backend.call import StoredAnswer
from backend.errors import BadRequest, CacheUnavailable, NotFound
from backend.gateway.control import Control
from backend.gateway.control_cache import CacheControl
from backend.gateway.control_request import ControlRequest
from backend.settings.live import LiveSettings
from backend.settings.signature import Signature
from db.cache_labels import add_labels, row_of
from db.engine import Engine, writing
from tests.cache.test_sqlite_store import stored
from tests.fakes import Scene, run, scene, whole
from tests.ledger.samples import make_label
from tests.reports.cache_samples import make_hit, make_row
from tests.reports.ledgers import write_calls

SECRET = b"installation secret"
CONSOLE = {b"authorization": b"Bearer " + console_credential(SECRET).encode()}
HELLO = {"model": "m", "question": "hello", "tenant": "tenant"}


def never() -> SecondLayer:
    raise AssertionError("nobody switched the semantic cache on")


@dataclass
class Place:
    """A gateway on a cache file, and the control over it."""

    scene: Scene
    control: Control
    store: SQLiteStore
    path: Path

    async def ask(self, line: str, body: Any = None) -> dict[str, Any]:
        method, path = line.split()
        raw = b"" if body is None else orjson.dumps(body)
        reply = await self.control.answer(ControlRequest(method, f"/control/{path}", CONSOLE, raw))
        assert reply.status == 200
        found: dict[str, Any] = orjson.loads(orjson.dumps(reply.body))
        return found

    async def keep(self, *entries: StoredAnswer) -> None:
        for entry in entries:
            self.store.put(entry, 10**9)
        await self.settle()

    async def settle(self) -> None:
        if self.store._task is not None:
            await self.store._task


@pytest.fixture
async def place(sqlite: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(sqlite_store, "_BATCH_S", 0.001)
    monkeypatch.setattr(contents_module, "_SETTLE_S", 0.01)
    path = tmp_path / "cache.db"
    store = SQLiteStore(path)
    acted = scene([whole()])
    acted.gateway.cache = Cache(ExactCache(store))
    entries = CacheControl(SQLiteContents(path), LazySemantic(never), store.describe)
    control = Control(sqlite, SECRET, None, LiveKeys(sqlite, SECRET), LiveSettings(sqlite), entries)
    yield Place(acted, control, store, path)
    await store.close()


async def test_the_status_says_what_is_in_which_layer(place: Place) -> None:
    await place.keep(stored(1), stored(2), stored(3, lives_s=0))
    found = await place.ask("GET cache")
    assert found["exact"] == {
        "enabled": True,
        "store": "file of this machine",
        "entries": 2,
        "dropped": 0,
        "breaker": None,
    }
    semantic = found["semantic"]
    assert (semantic["enabled"], semantic["state"], semantic["entries"]) == (False, "semantic cache: off", 0)
    assert (semantic["decision"], semantic["partitions"], semantic["loaded"]) == (None, [], False)


async def test_the_status_names_the_partitions_with_labels(place: Place, sqlite: Engine) -> None:
    with writing(sqlite) as connection:
        add_labels(connection, [row_of(make_label(), 1)])
    (partition,) = (await place.ask("GET cache"))["semantic"]["partitions"]
    assert (partition["partition"], partition["tenant"], partition["labels"]) == ("0f" * 16, "default", 1)


async def test_the_status_nets_what_the_caches_saved_of_what_they_cost(place: Place, sqlite: Engine) -> None:
    now = int(time.time() * 1000) - 60_000
    rows = [make_hit(1, "exact", started_at=now), make_row(2, started_at=now, cache_kind="bypass", origin="judge")]
    rows += [make_row(3, started_at=now, cache_kind="bypass", origin="warmup", cost_nusd=30)]
    rows += [make_row(4, started_at=now, cost_nusd=5, cache_probability=0.99, similarity_threshold=0.9)]
    write_calls(sqlite, rows)
    money = (await place.ask("GET cache"))["money"]
    paid = {"fresh_nusd": 5, "judge_nusd": 100, "embedding_nusd": 0, "prefetch_nusd": 30}
    assert {name: money[name] for name in paid} == paid
    assert (money["saved_nusd"], money["verified"], money["net_nusd"]) == (100, 1, -35)


async def test_a_look_up_finds_what_a_call_would_find_and_counts_as_no_hit(place: Place) -> None:
    assert (await place.ask("POST cache/lookup", HELLO))["exact_reason"] == "no live entry"
    first = await run(place.scene)
    await place.settle()
    found = await place.ask("POST cache/lookup", HELLO)
    assert found["exact"]["call_id"] == first.entry.id
    assert (found["exact"]["model"], found["exact"]["deployment"]) == ("m", "local")
    assert (found["nearest"], found["reason"]) == ([], "semantic cache: off")
    await place.settle()
    found_again = await place.ask("POST cache/top", {"limit": 5})
    assert [each["hits"] for each in found_again["entries"]] == [0]
    await run(place.scene)
    await place.settle()
    assert [each["hits"] for each in (await place.ask("POST cache/top"))["entries"]] == [1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tenant": "other"}, "no live entry"),
        ({"model": "n"}, "no live entry"),
        ({"parameters": {"temperature": 0}}, "no live entry"),
        ({"parameters": {"temperature": 1.5}}, "the temperature is above the limit"),
        ({"parameters": {"cache": {"no-cache": True}}}, "the caller said no-cache"),
    ],
)
async def test_a_look_up_says_why_there_is_nothing(place: Place, change: dict[str, Any], reason: str) -> None:
    await run(place.scene)
    await place.settle()
    found = await place.ask("POST cache/lookup", HELLO | change)
    assert (found["exact"], found["exact_reason"]) == (None, reason)


async def test_without_keys_there_is_one_tenant_and_with_keys_it_must_be_named(place: Place) -> None:
    asked = {name: value for name, value in HELLO.items() if name != "tenant"}
    assert (await place.ask("POST cache/lookup", asked))["tenant"] == "local"
    create_key(place.control.engine, SECRET, KeyDraft("k"), Signature("ana", "a try"))
    place.control.keys.reload()
    with pytest.raises(BadRequest, match="which tenant"):
        await place.ask("POST cache/lookup", asked)


@pytest.mark.parametrize(
    ("line", "body", "complaint"),
    [
        ("POST cache/lookup", {"model": "m"}, "question or messages"),
        ("POST cache/lookup", HELLO | {"messages": []}, "question or messages"),
        ("POST cache/lookup", {"model": "m", "messages": [], "tenant": "t"}, "non-empty"),
        ("POST cache/lookup", HELLO | {"model": ""}, "provide a model"),
        ("POST cache/lookup", HELLO | {"parameters": {"n": "two"}}, "n must be"),
        ("POST cache/top", {"limit": 0}, "limit: "),
        ("POST cache/purge", {}, "Say which entries"),
        ("POST cache/purge", {"all": True, "tenant": "t"}, "Say which entries"),
        ("POST cache/purge", {"tenant": "t", "dry_run": False}, "needs a reason"),
        ("POST cache/purge", {"tenant": "t", "dry_run": False, "reason": " "}, "needs a reason"),
        ("POST cache/purge", {"partition": "xyz"}, "partition: "),
        ("POST cache/purge", {"older_than_s": -1}, "older_than_s: "),
        ("POST cache/purge", {"tenants": "t"}, "tenants: unknown name"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_done(place: Place, line: str, body: Any, complaint: str) -> None:
    await place.keep(stored(1))
    with pytest.raises(BadRequest, match=complaint):
        await place.ask(line, body)
    assert (await place.ask("GET cache"))["exact"]["entries"] == 1
    assert actions.list_changes(place.control.engine) == []


async def test_a_dry_run_counts_and_leaves_no_trace(place: Place) -> None:
    await place.keep(stored(1), stored(2))
    found = await place.ask("POST cache/purge", {"tenant": "tenant"})
    assert found == {"exact": 2, "semantic": 0, "dry_run": True}
    assert (await place.ask("GET cache"))["exact"]["entries"] == 2
    assert actions.list_changes(place.control.engine) == []


async def test_a_purge_deletes_what_was_counted_and_says_who_wanted_it(place: Place) -> None:
    other = stored(2)._replace(tenant="other")
    await place.keep(stored(1), other)
    asked = {"tenant": "tenant", "dry_run": False, "reason": "asked to be forgotten", "actor": "ana"}
    assert await place.ask("POST cache/purge", asked) == {"exact": 1, "semantic": 0, "dry_run": False}
    assert await place.store.find(stored(1).key, 50) is None
    assert await place.store.find(other.key, 50) is not None
    (act,) = actions.list_changes(place.control.engine)
    assert (act.action, act.actor, act.reason) == ("cache.purge", "ana (console)", "asked to be forgotten")
    assert (act.subject, act.changes) == (
        "tenant tenant",
        {"selected": {"tenant": "tenant"}, "exact": 1, "semantic": 0},
    )


async def test_an_entry_that_another_worker_is_about_to_write_goes_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_module, "_SETTLE_S", 0.1)
    monkeypatch.setattr(sqlite_store, "_BATCH_S", 0.05)
    sibling = SQLiteStore(place.path)
    sibling.put(stored(1), 10**9)
    await place.ask("POST cache/purge", {"all": True, "dry_run": False, "reason": "clean"})
    assert await sibling.find(stored(1).key, 50) is None
    await sibling.close()


async def test_what_is_stored_after_a_purge_stays(place: Place) -> None:
    await place.ask("POST cache/purge", {"all": True, "dry_run": False, "reason": "clean"})
    await run(place.scene)
    await place.settle()
    assert (await place.ask("GET cache"))["exact"]["entries"] == 1


async def test_old_entries_go_and_young_ones_stay(place: Place) -> None:
    old = stored(1)._replace(stored_at=time.time_ns() // 1_000_000 - 7_200_000)
    await place.keep(old, stored(2))
    asked = {"older_than_s": 3600, "dry_run": False, "reason": "stale"}
    assert (await place.ask("POST cache/purge", asked))["exact"] == 1
    assert await place.store.find(stored(2).key, 50) is not None


async def test_a_cache_that_does_not_answer_is_a_503(place: Place, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all" * 1000)
    entries = CacheControl(SQLiteContents(broken), LazySemantic(never), dict)
    place.control = replace(place.control, cache=entries)
    for line, body in (("GET cache", None), ("POST cache/top", {}), ("POST cache/purge", {"all": True})):
        with pytest.raises(CacheUnavailable):
            await place.ask(line, body)
    found = await place.ask("POST cache/lookup", HELLO)
    assert "cache file" in found["exact_reason"]


async def test_a_gateway_without_a_cache_has_no_such_endpoints(place: Place) -> None:
    place.control = replace(place.control, cache=None)
    with pytest.raises(NotFound):
        await place.ask("GET cache")

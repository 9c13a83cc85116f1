"""Prefetch at work: one refresh by one worker, within the day's money, in the ledger as what it is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.cache import sqlite_store
from backend.cache.sqlite_refreshes import SQLiteRefreshes
from backend.cache.sqlite_store import SQLiteStore
from backend.call import CacheResult, Call, Entry, Match, StoredAnswer
from backend.errors import UpstreamRefused
from backend.gateway import prefetching as module
from backend.gateway.prefetching import Prefetching
from backend.settings.knobs import CacheSettings, Settings
from tests.fakes import HANG, PAUSE, Scene, arrival, call, deployment, run, scene, settings, whole
from tests.gateway.at_work import until
from tests.gateway.due import COST_NUSD, FakeRefreshes


def knobs(usd_per_day: str = "1", *deployments: Any, **cache: Any) -> Settings:
    return settings(*deployments, cache={"prefetch_usd_per_day": usd_per_day} | cache)


async def test_an_entry_in_demand_is_asked_for_again_and_keeps_its_key() -> None:
    stage, refreshes = scene([whole("fresh")], document=knobs()), FakeRefreshes()
    due = refreshes.add(1)
    await Prefetching(stage.gateway, refreshes).look()
    kept = stage.store.entries[due.key]
    assert b"fresh" in kept.body
    assert (kept.tenant, kept.cost_nusd, kept.call_id) == ("tenant", COST_NUSD, stage.ledger.only.id)
    assert kept.recipe is not None
    assert orjson.loads(kept.recipe.request) == orjson.loads(refreshes.requests[due.key])
    assert refreshes.spent_nusd == COST_NUSD


async def test_a_refresh_is_a_priced_row_of_its_own_origin_and_no_hit() -> None:
    stage, refreshes = scene([whole()], document=knobs()), FakeRefreshes()
    refreshes.add(1)
    await Prefetching(stage.gateway, refreshes).look()
    row = stage.ledger.only
    assert (row.origin, row.tenant, row.key_id, row.model) == ("warmup", "tenant", None, "m")
    assert (row.status, row.state, row.cost_nusd, row.cache_kind) == ("ok", "settled", COST_NUSD, "bypass")
    assert row.saved_cache_nusd is None
    assert "prefetch: 20 hits; 1.00 × " in str(row.notes)
    assert stage.gateway.open_calls == 0


async def test_while_it_is_off_the_store_is_not_asked() -> None:
    stage, refreshes = scene([whole()]), FakeRefreshes()
    refreshes.add(1)
    prefetching = Prefetching(stage.gateway, refreshes)
    await prefetching.look()
    stage.use(knobs(exact_enabled=False))
    await prefetching.look()
    stage.use(knobs())
    stage.gateway.draining = True
    await prefetching.look()
    stage.gateway.draining = False
    stage.ledger.room = False
    await prefetching.look()
    assert (refreshes.asked, stage.client.requests) == (0, [])
    stage.ledger.room = True
    await prefetching.look()
    assert (refreshes.asked, len(stage.client.requests)) == (1, 1)


@pytest.mark.parametrize("changes", [{"cost_nusd": None}, {"hits": 0}, {"latency_ms": 0.0}, {"expires_at": 2**60}])
async def test_what_is_not_worth_it_is_left_alone(changes: dict[str, Any]) -> None:
    stage, refreshes = scene([whole()], document=knobs()), FakeRefreshes()
    refreshes.add(1, **changes)
    await Prefetching(stage.gateway, refreshes).look()
    assert (stage.client.requests, refreshes.claimed, refreshes.most_nusd) == ([], set(), 0)


async def test_two_workers_refresh_an_entry_once() -> None:
    refreshes = FakeRefreshes()
    for number in range(5):
        refreshes.add(number)
    stages = [scene([PAUSE, whole()], document=knobs()) for _ in range(2)]
    await asyncio.gather(*(Prefetching(stage.gateway, refreshes).look() for stage in stages))
    assert sum(len(stage.client.requests) for stage in stages) == 5
    assert all(stage.client.requests for stage in stages)
    assert refreshes.spent_nusd == 5 * COST_NUSD


async def test_the_days_money_is_never_exceeded_by_calls_that_cost_what_they_did() -> None:
    refreshes = FakeRefreshes()
    for number in range(20):
        refreshes.add(number)
    document = knobs("0.000010")  # three of them
    stages = [scene([PAUSE, whole()], document=document) for _ in range(4)]
    for _ in range(3):
        await asyncio.gather(*(Prefetching(stage.gateway, refreshes).look() for stage in stages))
    spent = sum(row.cost_nusd or 0 for stage in stages for row in stage.ledger.recorded)
    assert spent == refreshes.spent_nusd == 3 * COST_NUSD
    assert refreshes.most_nusd <= 10_000


async def test_what_is_too_dear_for_the_rest_of_the_day_leaves_it_to_what_is_not() -> None:
    stage, refreshes = scene([whole()], document=knobs("0.000010")), FakeRefreshes()
    for number, cost_nusd in enumerate((50_000, 50_000, 60_000, 70_000)):
        refreshes.add(number, cost_nusd=cost_nusd)
    cheap = refreshes.add(9)
    await Prefetching(stage.gateway, refreshes).look()
    assert list(stage.store.entries) == [cheap.key]
    assert refreshes.reserved <= 3  # each of the two that ask may learn it for itself


async def test_a_call_that_cost_another_amount_than_last_time_is_settled() -> None:
    stage, refreshes = scene([whole()], document=knobs()), FakeRefreshes()
    refreshes.add(1, cost_nusd=1000)
    await Prefetching(stage.gateway, refreshes).look()
    assert refreshes.spent_nusd == COST_NUSD


async def test_what_cannot_be_known_to_be_free_stays_spent() -> None:
    stage, refreshes = scene([whole(usage={"prompt_tokens": -1})], document=knobs()), FakeRefreshes()
    refreshes.add(1)
    await Prefetching(stage.gateway, refreshes).look()
    assert stage.ledger.only.cost_nusd is None
    assert refreshes.spent_nusd == COST_NUSD


async def test_a_failure_costs_nothing_keeps_the_entry_and_is_not_repeated_at_once() -> None:
    stage, refreshes = scene([UpstreamRefused("no", status=400, body=None)], document=knobs()), FakeRefreshes()
    refreshes.add(1)
    prefetching = Prefetching(stage.gateway, refreshes)
    await prefetching.look()
    await prefetching.look()
    assert (stage.ledger.only.origin, stage.ledger.only.status) == ("warmup", "failed")
    assert (stage.store.entries, refreshes.spent_nusd) == ({}, 0)


async def test_an_answer_that_is_not_whole_replaces_nothing() -> None:
    cut = whole()
    cut["choices"][0]["finish_reason"] = "length"
    stage, refreshes = scene([cut], document=knobs()), FakeRefreshes()
    refreshes.add(1)
    await Prefetching(stage.gateway, refreshes).look()
    assert stage.ledger.only.status == "ok"
    assert stage.store.entries == {}


async def test_nothing_is_asked_while_the_deployment_rests_or_nobody_answers_to_the_model() -> None:
    stage, refreshes = scene([whole()], document=knobs("1", deployment(model="m"))), FakeRefreshes()
    refreshes.add(1)
    refreshes.add(2, model="unknown")
    health = stage.gateway.upstream.health
    health.failed("local", stage.gateway.settings.current.settings.upstream.model_copy(update={"cooldown_failures": 1}))
    await Prefetching(stage.gateway, refreshes).look()
    assert (stage.client.requests, refreshes.most_nusd, refreshes.claimed) == ([], 0, set())
    health.succeeded("local")
    await Prefetching(stage.gateway, refreshes).look()
    assert len(stage.client.requests) == 1


async def test_only_the_question_that_the_key_stands_for_is_asked() -> None:
    stage, refreshes = scene([whole()], document=knobs()), FakeRefreshes()
    due = refreshes.add(1)
    refreshes.requests[due.key] = orjson.dumps(call(messages=[{"role": "user", "content": "another"}]).body)
    await Prefetching(stage.gateway, refreshes).look()
    assert (stage.client.requests, refreshes.spent_nusd) == ([], 0)


async def test_what_is_too_warm_for_the_cache_by_now_is_not_asked() -> None:
    stage, refreshes = scene([whole()], document=knobs(max_temperature=0.5)), FakeRefreshes()
    refreshes.add(1)
    await Prefetching(stage.gateway, refreshes).look()
    assert (stage.client.requests, refreshes.spent_nusd) == ([], 0)


async def test_two_calls_at_most_are_under_way_and_a_shutdown_closes_their_rows() -> None:
    stage, refreshes = scene([HANG], document=knobs()), FakeRefreshes()
    for number in range(5):
        refreshes.add(number)
    task = asyncio.create_task(Prefetching(stage.gateway, refreshes).look())
    await until(lambda: len(stage.client.requests) == 2)
    for _ in range(50):
        await asyncio.sleep(0)
    assert stage.gateway.open_calls == len(stage.client.requests) == 2
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [row.origin for row in stage.ledger.recorded] == ["warmup"] * 2
    assert (stage.gateway.open_calls, stage.store.entries) == (0, {})


async def test_the_watch_goes_on_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.001)
    stage, refreshes = scene([whole()], document=knobs()), FakeRefreshes(away=True)
    refreshes.add(1)
    task = asyncio.create_task(Prefetching(stage.gateway, refreshes).watch())
    await until(lambda: refreshes.asked >= 3)
    refreshes.away = False
    await until(lambda: bool(stage.store.entries))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@dataclass
class FakeSecond:
    """A semantic layer that would verify what it found, and remembers what it was to keep."""

    kept: list[tuple[str, Match]] = field(default_factory=list)

    def begin(self, settings: CacheSettings) -> None:
        raise NotImplementedError

    async def look_up(self, call: Call, tenant: str, exact: CacheResult, settings: CacheSettings) -> CacheResult:
        match = Match("00", tenant, 1.0, "near", verify=True)
        return CacheResult("semantic", None, match=match)

    def keep(self, stored: StoredAnswer | None, found: CacheResult, entry: Entry, settings: CacheSettings) -> None:
        assert stored is not None
        assert found.match is not None
        self.kept.append((stored.call_id, found.match))

    async def close(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_semantic_layer_learns_the_question_anew(enabled: bool) -> None:
    stage, refreshes = scene([whole()], document=knobs(semantic_enabled=enabled)), FakeRefreshes()
    due = refreshes.add(1)
    stage.gateway.cache.semantic = second = FakeSecond()
    await Prefetching(stage.gateway, refreshes).look()
    assert due.key in stage.store.entries
    match = Match("00", "tenant", 1.0, "near", verify=False)
    assert second.kept == ([(stage.ledger.only.id, match)] if enabled else [])


@pytest.fixture
async def filed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Scene, Prefetching]]:
    """A gateway over a real file of entries, which live for ten seconds."""
    monkeypatch.setattr(sqlite_store, "_BATCH_S", 0.001)
    monkeypatch.setattr(module, "lead_ms", lambda _: 60_000)
    stage = scene([whole("old")], [whole("new")], document=knobs(ttl_s=10, prefetch_usd_per_hour_waited="1000000"))
    store = SQLiteStore(tmp_path / "cache.db")
    stage.gateway.cache.exact._store = store
    prefetching = Prefetching(stage.gateway, SQLiteRefreshes(tmp_path / "cache.db"))
    yield stage, prefetching
    await prefetching.close()
    await store.close()


async def test_a_hit_after_the_refresh_has_the_fresh_answer_and_its_age(filed: tuple[Scene, Prefetching]) -> None:
    stage, prefetching = filed
    store: Any = stage.gateway.cache.exact._store
    question = arrival(messages=[{"role": "user", "content": "again?"}])
    for _ in range(30):
        await run(stage, question)
    await store._task
    assert (await run(stage, question)).text == "old"
    await prefetching.look()
    [warm_up] = [row for row in stage.ledger.recorded if row.origin == "warmup"]
    await store._task
    ending = await run(stage, question)
    assert ending.text == "new"
    assert (ending.entry.cache_kind, ending.entry.source_call_id) == ("exact", warm_up.id)
    assert ending.entry.cache_age_s is not None
    assert ending.entry.cache_age_s <= time.time() - warm_up.started_at / 1000
    assert ending.entry.saved_cache_nusd == warm_up.cost_nusd == COST_NUSD
    assert len(stage.client.requests) == 2


async def test_an_entry_that_was_refreshed_and_then_not_asked_for_is_let_go(filed: tuple[Scene, Prefetching]) -> None:
    stage, prefetching = filed
    store: Any = stage.gateway.cache.exact._store
    for _ in range(30):
        await run(stage)
    await store._task
    for _ in range(3):
        await prefetching.look()
        await store._task
    assert [row.origin for row in stage.ledger.recorded].count("warmup") == 1

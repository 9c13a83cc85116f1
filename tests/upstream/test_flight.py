"""Identical calls in flight share one upstream call, whoever of them leaves or fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.call import Entry, Identity
from backend.errors import UpstreamInterrupted, UpstreamRefused
from backend.upstream import flight as module
from tests.fakes import (
    HANG,
    PAUSE,
    Ending,
    Scene,
    Script,
    deployment,
    event,
    events,
    run,
    scene,
    settings,
    usage,
    whole,
)

STREAM: Script = [PAUSE, *(step for each in events("one ", "two", stated=usage(5, 2)) for step in (each, PAUSE))]
WHOLE: Script = [PAUSE, whole(), PAUSE]


async def run_many(stage: Scene, count: int, **body: Any) -> list[Ending]:
    return await asyncio.gather(*(run(stage, **body) for _ in range(count)))


@pytest.mark.parametrize("stream", [True, False])
async def test_256_identical_calls_cost_one(stream: bool) -> None:
    stage = scene(STREAM if stream else WHOLE)
    endings = await run_many(stage, 256, stream=stream)
    assert len(stage.client.requests) == 1
    assert {ending.text for ending in endings} == {"one two" if stream else "hello there"}
    entries = stage.ledger.recorded
    leaders = [entry for entry in entries if entry.cache_kind == "miss"]
    followers = [entry for entry in entries if entry.cache_kind == "coalesced"]
    assert (len(leaders), len(followers)) == (1, 255)
    (leader,) = leaders
    assert leader.cost_nusd
    assert {entry.source_call_id for entry in followers} == {leader.id}
    assert {(entry.cost_nusd, entry.saved_cache_nusd) for entry in followers} == {(0, leader.cost_nusd)}
    assert {(entry.deployment, entry.served_model, entry.state) for entry in entries} == {("local", "m-1", "settled")}


async def test_calls_that_differ_do_not_share() -> None:
    stage = scene(WHOLE)
    bodies: list[dict[str, Any]] = [{}, {"stream": True}, {"seed": 1}, {"model": "n"}, {"cache": {"namespace": "x"}}]
    bodies += [{"messages": [{"role": "user", "content": "else"}]}, {"cache": {"no-cache": True, "no-store": True}}]
    await asyncio.gather(*(run(stage, **body) for body in bodies))
    assert len(stage.client.requests) == len(bodies)


async def test_tenants_do_not_share() -> None:
    stage = scene(WHOLE)
    tasks = []
    for tenant in ("a", "b", "a", "b"):
        stage.keys.identity = Identity(tenant, tenant)
        tasks.append(asyncio.create_task(run(stage)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(stage.client.requests) == 2
    by_id = {entry.id: entry for entry in stage.ledger.recorded}
    followers = [entry for entry in by_id.values() if entry.source_call_id]
    assert [by_id[str(entry.source_call_id)].tenant for entry in followers] == [entry.tenant for entry in followers]


async def test_nobody_shares_when_the_settings_say_so() -> None:
    stage = scene(WHOLE, document=settings(cache={"coalesce": False}))
    await run_many(stage, 5)
    assert len(stage.client.requests) == 5


async def test_usage_is_shown_to_those_who_asked_and_to_no_others() -> None:
    for order in ((True, False, True, False), (False, True, False, True)):
        stage = scene(STREAM)
        asked: list[dict[str, Any]] = [
            {"stream": True, "stream_options": {"include_usage": wanted}} for wanted in order
        ]
        endings = await asyncio.gather(*(run(stage, **body) for body in asked))
        assert len(stage.client.requests) == 1
        shown = [[chunk.event for chunk in ending.chunks if chunk.shown][-1]["choices"] == [] for ending in endings]
        assert shown == list(order)
        assert {entry.completion_tokens for entry in stage.ledger.recorded} == {2}


@pytest.mark.parametrize("shown", [0, 2])
async def test_a_leader_that_fails_fails_its_followers_and_nobody_tries_again(shown: int) -> None:
    broken: Script = [PAUSE, *events("one", "two")[:shown], PAUSE, UpstreamRefused("no", status=500, body=None)]
    stage = scene(broken, document=settings(upstream={"max_attempts": 1}))
    endings = await run_many(stage, 20, stream=True)
    assert len(stage.client.requests) == 1
    assert {ending.error.status if ending.error else 0 for ending in endings} == {500}
    assert {entry.status for entry in stage.ledger.recorded} == {"failed"}
    followers = [entry for entry in stage.ledger.recorded if not entry.tries]
    assert {entry.cost_nusd for entry in followers} == {0}
    assert stage.store.entries == {}


async def test_followers_of_a_cancelled_leader_are_told() -> None:
    stage = scene([*events("one")[:2], HANG])
    leader = asyncio.create_task(run(stage, stream=True))
    await asyncio.sleep(0.01)
    follower = asyncio.create_task(run(stage, stream=True))
    await asyncio.sleep(0.01)
    leader.cancel()
    ending = await follower
    assert isinstance(ending.error, UpstreamInterrupted)
    assert ending.text == "one"
    assert sorted(entry.status for entry in stage.ledger.recorded) == ["cancelled", "failed"]
    assert stage.gateway.flights.find(stage.ledger.recorded[0].share_key) is None


async def test_a_follower_may_leave_at_any_time() -> None:
    for turns in range(1, 16):
        stage = scene(STREAM)
        leader = asyncio.create_task(run(stage, stream=True))
        await asyncio.sleep(0)
        follower = asyncio.create_task(run(stage, stream=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        assert (await leader).text == "one two"
        assert len(stage.ledger.recorded) == 2
        assert {entry.cost_nusd for entry in stage.ledger.recorded if not entry.tries} == {0}


async def test_a_latecomer_gets_what_was_already_said() -> None:
    stage = scene(STREAM)
    leader = asyncio.create_task(run(stage, stream=True))
    for _ in range(8):
        await asyncio.sleep(0)
    ending = await run(stage, stream=True)
    assert ending.text == (await leader).text == "one two"
    assert len(stage.client.requests) == 1


async def test_after_the_landing_a_new_flight_begins() -> None:
    stage = scene(WHOLE, document=settings(cache={"max_entry_kb": 1}))
    stage.gateway.cache.store = lambda *_: None  # type: ignore[method-assign]
    await run(stage)
    await run(stage)
    assert len(stage.client.requests) == 2


async def test_a_long_answer_that_nobody_follows_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_JOINABLE_BYTES", 200)
    long = [event({"content": "x" * 100}) for _ in range(4)]
    stage = scene([*long, PAUSE, PAUSE, PAUSE, PAUSE, event({}, "stop")], [*long, PAUSE, PAUSE, event({}, "stop")])
    first = asyncio.create_task(run(stage, stream=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(run(stage, stream=True))
    assert (await first).text == (await second).text == "x" * 400
    assert len(stage.client.requests) == 2
    assert len(stage.ledger.recorded) == 2


async def test_a_flight_that_may_no_longer_be_joined_does_not_close_its_successor() -> None:
    flights = module.Flights()
    old, new = module.Flight(Entry("w", "e")), module.Flight(Entry("w", "e"))
    old.size = module._JOINABLE_BYTES + 1
    flights._flights[b"key"] = new
    chunk = (await run(scene(WHOLE))).chunks[0]
    flights._share(b"key", old, chunk)
    assert flights.find(b"key") is new


async def test_followers_know_who_answered_even_after_a_fallback() -> None:
    document = settings(
        deployment("first", model="m"), deployment("second", model="other"),
        routing={"models": [{"model": "m", "fallbacks": ["second"]}]},
    )  # fmt: skip
    stage = scene([PAUSE, UpstreamRefused("no", status=500, body=None)], WHOLE, document=document)
    await run_many(stage, 3)
    assert {entry.deployment for entry in stage.ledger.recorded} == {"second"}

"""The ASGI application: what goes out in which order, and clients that leave or do not read."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import orjson
import pytest

from backend.errors import UpstreamInterrupted, UpstreamRefused
from backend.gateway import gateway as gateway_module
from backend.gateway import http as http_module
from backend.settings.knobs import Settings
from tests.fakes import HANG, PAUSE, Script, deployment, events, scene, settings, usage, whole
from tests.gateway.asgi import Visit, application, chat, visit

STREAM: Script = events("one ", "two", stated=usage(5, 2))
DRAINED: Script = [step for each in STREAM for step in (each, PAUSE, PAUSE)]


async def test_a_whole_answer_goes_out_only_once_it_is_in_the_ledger() -> None:
    stage = scene([whole()])
    done = chat()
    at_durable: list[tuple[int, int]] = []
    stage.ledger.on_durable = lambda: at_durable.append((len(stage.ledger.recorded), len(done.messages)))
    await visit(application(stage), done)
    assert at_durable == [(1, 0)]
    assert (done.status, done.json) == (200, whole())
    assert int(done.sent_headers["content-length"]) == len(done.body)
    assert done.sent_headers["x-governor-cost-nusd"] == str(stage.ledger.only.cost_nusd)


async def test_a_stream_ends_only_once_it_is_in_the_ledger() -> None:
    stage = scene(STREAM)
    done = chat(stream=True)
    sent: list[int] = []
    stage.ledger.on_durable = lambda: sent.append(len(done.messages))
    await visit(application(stage), done)
    assert sent == [len(done.messages) - 1]
    assert done.events[-1] == b"[DONE]"
    assert [orjson.loads(event) for event in done.events[:-1]] == STREAM[:-1]
    assert done.sent_headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_keeps_its_status_whatever_was_asked_for(stream: bool) -> None:
    done = await visit(application(scene([UpstreamRefused("no", status=418, body=None)])), chat(stream=stream))
    assert done.status == 418
    assert done.json["error"]["code"] == "upstream_418"
    assert done.sent_headers["content-type"] == "application/json"
    assert done.sent_headers["x-governor-attempts"] == "1"


async def test_an_error_in_a_stream_is_its_last_event() -> None:
    stage = scene([*events("one")[:2], UpstreamInterrupted("cut")])
    done = await visit(application(stage), chat(stream=True))
    *_, last = done.events
    error = orjson.loads(last)["error"]
    assert error == {
        "message": "cut", "type": "upstream_error", "param": None, "code": "upstream_interrupted",
        "call_id": stage.ledger.only.id,
    }  # fmt: skip
    assert b"[DONE]" not in done.body
    assert done.complete


@pytest.mark.parametrize("stream", [True, False])
async def test_an_upstream_that_says_nothing_is_an_error(stream: bool) -> None:
    done = await visit(application(scene([])), chat(stream=stream))
    assert done.status >= 500
    assert done.json["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("script", [[HANG], [*STREAM[:2], HANG]], ids=["before the first chunk", "in the middle"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_call(script: Script, stream: bool) -> None:
    stage = scene(script)
    app, gone = application(stage), chat(stream=stream)
    task = asyncio.create_task(visit(app, gone))
    await asyncio.sleep(0.01)
    assert stage.gateway.open_calls == 1
    gone.left.set()
    await task
    assert (stage.ledger.only.status, stage.ledger.only.state) == ("cancelled", "estimated")
    assert (stage.gateway.open_calls, stage.client.closed) == (0, 1)
    assert not gone.complete


@pytest.mark.parametrize("drain_s", [30.0, 0.001])
async def test_an_answer_is_read_on_to_its_usage_where_that_is_wanted(drain_s: float) -> None:
    document = settings(deployment(on_disconnect="drain"), upstream={"drain_s": drain_s})
    stage = scene(DRAINED if drain_s > 1 else [*STREAM[:2], HANG], document=document)
    gone = chat(stream=True)
    task = asyncio.create_task(visit(application(stage), gone))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.left.set()
    await task
    entry = stage.ledger.only
    assert (entry.status, entry.state) == (("ok", "settled") if drain_s > 1 else ("cancelled", "estimated"))
    assert entry.notes == ["client left; the answer was read on"]
    await asyncio.gather(*stage.gateway.reading_on)
    await asyncio.sleep(0)
    assert stage.gateway.drains == 0
    assert not gone.complete


async def test_no_more_answers_are_read_on_than_the_settings_allow() -> None:
    document = settings(deployment(on_disconnect="drain"), upstream={"drain_max": 2}, cache={"coalesce": False})
    stage = scene([STREAM[0], HANG], document=document)
    app, gone = application(stage), [chat(stream=True) for _ in range(5)]
    tasks = [asyncio.create_task(visit(app, each)) for each in gone]
    await asyncio.sleep(0.01)
    for each in gone:
        each.left.set()
    await asyncio.sleep(0.01)
    assert (stage.gateway.drains, len(stage.ledger.recorded)) == (2, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*stage.gateway.reading_on)
    await asyncio.sleep(0)
    assert (stage.gateway.drains, stage.gateway.open_calls, len(stage.ledger.recorded)) == (0, 0, 5)


async def test_a_leader_whose_client_leaves_goes_on_while_others_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "_LOOK_S", 0.001)
    go_on = asyncio.Event()
    stage = scene(STREAM)
    app, leader, follower = application(stage), chat(stream=True), chat(stream=True)
    leader.reading = follower.reading = go_on
    tasks = [asyncio.create_task(visit(app, each)) for each in (leader, follower)]
    await asyncio.sleep(0.01)
    leader.left.set()
    await asyncio.sleep(0.02)
    go_on.set()
    await asyncio.gather(*tasks)
    assert follower.events[-1] == b"[DONE]"
    assert {entry.status for entry in stage.ledger.recorded} == {"ok"}


async def test_a_leader_without_client_or_followers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "_LOOK_S", 0.001)
    stage = scene([*STREAM[:2], HANG])
    app, leader, follower = application(stage), chat(stream=True), chat(stream=True)
    tasks = [asyncio.create_task(visit(app, each)) for each in (leader, follower)]
    await asyncio.sleep(0.01)
    leader.left.set()
    await asyncio.sleep(0.01)
    assert stage.ledger.recorded == []
    follower.left.set()
    await asyncio.gather(*tasks)
    assert sorted(entry.status for entry in stage.ledger.recorded) == ["cancelled", "cancelled"]
    assert stage.gateway.open_calls == 0


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_STALL_CHECK_S", 0.001)
    stage = scene(STREAM, document=settings(gateway={"write_stall_s": 0.005}))
    app, deaf = application(stage), chat(stream=True)
    deaf.reading.clear()
    watch = asyncio.create_task(app.watch_stalls())
    await visit(app, deaf)
    watch.cancel()
    assert stage.ledger.only.status == "cancelled"
    assert (app._sending, stage.gateway.open_calls) == ({}, 0)


async def test_a_client_that_leaves_without_reading_leaves_nothing_behind() -> None:
    stage = scene(STREAM)
    app, deaf = application(stage), chat(stream=True)
    deaf.reading.clear()
    task = asyncio.create_task(visit(app, deaf))
    await asyncio.sleep(0.01)
    deaf.left.set()
    await task
    assert app._sending == {}


async def test_shutting_down_ends_a_call_with_an_entry() -> None:
    stage = scene([*STREAM[:2], HANG])
    task = asyncio.create_task(visit(application(stage), chat(stream=True)))
    await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert stage.ledger.only.status == "cancelled"
    assert stage.gateway.open_calls == 0


async def test_hundreds_of_endings_leave_nothing_behind() -> None:
    dice = random.Random(7)
    document: Settings = settings(cache={"coalesce": False}, upstream={"max_attempts": 1})
    stage = scene(STREAM, document=document)
    app = application(stage)
    scripts: list[Script] = [DRAINED, [HANG], [*STREAM[:2], HANG], [UpstreamInterrupted("x")], [ZeroDivisionError()]]
    before = len(asyncio.all_tasks())
    for number in range(400):
        stage.client.scripts = [dice.choice(scripts)]
        gone = chat(stream=dice.random() < 0.5, seed=number)
        task = asyncio.create_task(visit(app, gone))
        for _ in range(dice.randrange(1, 20)):
            await asyncio.sleep(0)
        gone.left.set()
        await task
    await asyncio.sleep(0)
    assert len(stage.ledger.recorded) == len({entry.id for entry in stage.ledger.recorded}) == 400
    assert {entry.state for entry in stage.ledger.recorded} <= {"settled", "estimated", "failed", "unknown"}
    assert (stage.gateway.open_calls, app._sending, len(asyncio.all_tasks())) == (0, {}, before)
    assert stage.gateway.upstream.health.open_calls("local") == 0
    assert stage.client.closed == len(stage.client.requests)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/none", 404),
        ("GET", "/v1/models", 200),
        ("GET", "/models", 200),
        ("HEAD", "/health", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 404),
        ("GET", "/v1/../health", 404),
        ("GET", "/v1/models/../../health", 404),
    ],
)
async def test_every_route_answers_in_one_shape(method: str, path: str, status: int) -> None:
    done = await visit(application(scene([whole()])), Visit(b""), path, method)
    assert done.status == status
    if status >= 400:
        assert done.json["error"].keys() == {"message", "type", "param", "code"}
    assert done.sent_headers["cache-control"] == "private, no-store"


async def test_only_routes_that_cost_money_take_a_body_to_the_pipeline() -> None:
    for path in http_module.CALLS:
        stage = scene([whole()])
        await visit(application(stage), Visit(b"{}"), path)
        assert stage.ledger.only.status == "refused"


async def test_what_is_not_http_is_left_alone() -> None:
    sent = Visit()
    await application(scene([whole()]))({"type": "websocket"}, sent.receive, sent.send)
    assert sent.messages == []


async def test_not_ready_when_a_call_could_not_be_billed() -> None:
    stage = scene([whole()])
    app = application(stage)
    assert (await visit(app, Visit(b""), "/health/readiness", "GET")).status == 200
    stage.ledger.room = False
    unready = await visit(app, Visit(b""), "/health/readiness", "GET")
    assert (unready.status, unready.json["can_bill"]) == (503, False)
    assert (await visit(app, Visit(b""), "/health/liveliness", "GET")).status == 200
    refused = await visit(app, chat())
    assert (refused.status, refused.json["error"]["code"]) == (503, "ledger_unavailable")
    assert refused.sent_headers["retry-after-ms"] == "2000"


async def test_more_open_calls_than_allowed_are_refused() -> None:
    stage = scene([HANG], document=settings(gateway={"max_open_calls": 2}, cache={"coalesce": False}))
    app = application(stage)
    open_calls = [asyncio.create_task(visit(app, chat(seed=number))) for number in range(2)]
    await asyncio.sleep(0)
    refused = await visit(app, chat(seed=9))
    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
    for task in open_calls:
        task.cancel()
    await asyncio.gather(*open_calls, return_exceptions=True)

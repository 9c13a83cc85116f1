"""The path of one call: whatever happens on it, exactly one ledger entry is closed, and closing it never waits."""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import Any

import pytest

from backend.call import Arrival, Identity
from backend.errors import BadRequest, Unauthenticated, UpstreamInterrupted, UpstreamRefused, UpstreamTimeout
from backend.gateway import pipeline
from backend.gateway.gateway import Gateway
from backend.gateway.observe import end_badly, end_well, observe, settle
from tests.fakes import HANG, PAUSE, Scene, Script, arrival, deployment, events, run, scene, settings, usage, whole

REFUSED = UpstreamRefused("no", status=400, body=None)
SLOW: Script = [PAUSE, *(step for event in events("a", "b", "c", stated=usage(2, 3)) for step in (event, PAUSE))]
SLOW_WHOLE: Script = [PAUSE, PAUSE, whole(), PAUSE]

# script, what is asked: status, state, HTTP status, cost in nano-dollars
ENDINGS: list[tuple[str, Script, dict[str, Any], tuple[Any, ...]]] = [
    ("whole", [whole()], {}, ("ok", "settled", 200, 2850)),
    ("stream", [*events("a", "b", stated=usage(2, 2))], {"stream": True}, ("ok", "settled", 200, 1500)),
    ("no usage", [whole(usage=None)], {}, ("ok", "estimated", 200, 2850)),
    ("no usage in the stream", [*events("four", "more")], {"stream": True}, ("ok", "estimated", 200, 2250)),
    ("usage of nothing", [whole(usage=usage(0, 0))], {}, ("ok", "settled", 200, 0)),
    ("usage of nonsense", [whole(usage={"prompt_tokens": -1})], {}, ("ok", "unknown", 200, None)),
    ("refused", [REFUSED], {}, ("failed", "failed", 400, 0)),
    ("timed out", [UpstreamTimeout("late")], {}, ("failed", "unknown", 504, None)),
    ("a crash", [ZeroDivisionError("boom")], {}, ("failed", "estimated", 500, 1050)),
    ("cut", [*events("four")[:2], UpstreamInterrupted("cut")], {"stream": True}, ("failed", "estimated", 502, 1650)),
    ("bad request", [whole()], {"n": "many"}, ("refused", "failed", 400, 0)),
    ("no such model", [whole()], {"model": "unknown"}, ("refused", "failed", 404, 0)),
]


@pytest.mark.parametrize(("script", "asked", "outcome"), [each[1:] for each in ENDINGS], ids=[e[0] for e in ENDINGS])
async def test_every_ending_closes_exactly_one_entry(
    script: Script, asked: dict[str, Any], outcome: tuple[Any, ...]
) -> None:
    stage = scene(script, document=settings(deployment(model="m")))
    ending = await run(stage, **asked)
    entry = stage.ledger.only
    assert (entry.status, entry.state, entry.http_status, entry.cost_nusd) == outcome
    assert (ending.error is None) == (entry.status == "ok")
    assert stage.metrics.observed == [entry.id]
    assert all(attempt.state != "open" for attempt in entry.tries)
    assert_quiet(stage)


def assert_quiet(stage: Scene) -> None:
    """Nothing is left behind: no open stream, no flight, no slot."""
    assert stage.client.closed == len(stage.client.requests)
    assert stage.gateway.flights.find(stage.ledger.recorded[-1].share_key) is None
    assert stage.gateway.upstream.health.open_calls("local") == 0


async def test_a_call_is_durable_before_it_goes_out_and_not_sent_when_it_cannot_be() -> None:
    stage = scene([whole()])
    stage.gateway.ledger.can_record = lambda: True  # type: ignore[method-assign]
    stage.ledger.room = False
    ending = await run(stage)
    assert ending.error is not None
    assert (ending.error.status, ending.error.code) == (503, "ledger_unavailable")
    assert stage.client.requests == []
    assert (stage.ledger.only.status, stage.ledger.only.cost_nusd) == ("failed", 0)


async def test_who_is_not_known_is_recorded_as_refused_before_the_body_is_read() -> None:
    stage = scene([whole()])
    stage.keys.refusal = Unauthenticated("no")
    ending = await run(stage, Arrival("chat.completions", {}, b"{not json"))
    assert ending.error is not None
    assert (stage.ledger.only.http_status, stage.ledger.only.error_code) == (401, "invalid_api_key")
    assert stage.client.requests == []


@pytest.mark.parametrize(
    ("identity", "model", "headers"),
    [
        (Identity("t", "k", models=("other",)), "m", {}),
        (Identity("t", "k", scopes=frozenset({"read"})), "m", {}),
        (Identity("t", "k"), "m", {b"x-governor-deployment": b"local"}),
    ],
    ids=["model not allowed", "no scope call", "may not name a deployment"],
)
async def test_what_a_key_may_not_do_is_forbidden(identity: Identity, model: str, headers: dict[bytes, bytes]) -> None:
    stage = scene([whole()])
    stage.keys.identity = identity
    ending = await run(stage, arrival(model=model, headers=headers))
    assert ending.error is not None
    assert (ending.error.status, stage.ledger.only.status) == (403, "refused")
    assert stage.client.requests == []


@pytest.mark.parametrize(("script", "stream"), [(SLOW, True), (SLOW_WHOLE, False), ([PAUSE, HANG], True)])
@pytest.mark.parametrize("cached", [False, True])
async def test_a_call_may_be_cancelled_at_every_await(script: Script, stream: bool, cached: bool) -> None:
    statuses = set()
    for turns in range(40):
        stage = scene(list(script), document=settings(cache={"exact_enabled": cached}))
        task = asyncio.create_task(run(stage, stream=stream))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if turns == 0:
            continue
        entry = stage.ledger.only
        statuses.add(entry.status)
        assert entry.state in (("settled",) if entry.status == "ok" else ("failed", "estimated", "settled"))
        assert all(attempt.state != "open" for attempt in entry.tries)
        assert entry.cost_nusd is not None
        assert (entry.cost_nusd > 0) == bool(entry.tries)
        assert_quiet(stage)
        assert len(stage.store.entries) == (cached and entry.status == "ok")
    assert statuses == ({"cancelled"} if HANG in script else {"cancelled", "ok"})


async def test_a_reader_may_stop_after_every_chunk() -> None:
    script = events("one ", "two ", "three", stated=usage(2, 3))
    for shown in range(1, len(script) + 1):
        stage = scene(list(script))
        entry = stage.gateway.open_entry("chat.completions")
        chunks = pipeline.answer(arrival(stream=True), entry, stage.gateway)
        for _ in range(shown):
            await anext(chunks)
        await chunks.aclose()
        assert stage.ledger.only.status == "cancelled"
        assert stage.ledger.only.state == ("settled" if shown == len(script) else "estimated")
        assert_quiet(stage)


async def test_what_a_cut_costs_lies_between_what_was_delivered_and_what_was_produced() -> None:
    words = ["twelve chars", "four", "a longer run of words ", "x"]
    produced = [-(-len(word) // 4) for word in words]
    for shown in range(len(words) + 1):
        cut: Script = [*events(*words)[: shown + 1], UpstreamInterrupted("cut")]
        stage = scene(cut)
        await run(stage, stream=True)
        billed = stage.ledger.only.completion_tokens
        if shown == 0:
            assert billed in (None, 0)
        else:
            assert sum(produced[:shown]) <= (billed or 0) <= sum(produced)
            assert stage.ledger.only.usage_source == "estimated"


async def test_one_version_of_the_settings_governs_a_whole_call() -> None:
    stage = scene(SLOW)
    task = asyncio.create_task(run(stage, stream=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stage.use(settings(cache={"exact_enabled": False}))
    await task
    assert stage.ledger.only.settings_version == 1
    assert len(stage.store.entries) == 1


async def test_a_cache_that_fails_never_fails_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = scene([whole()])
    stage.store.away = True
    monkeypatch.setattr(stage.store, "put", lambda *_: 1 / 0)
    ending = await run(stage)
    assert ending.text == "hello there"
    assert stage.ledger.only.status == "ok"
    assert stage.ledger.only.notes == ["cache: store: away", "cache: not stored (ZeroDivisionError)"]


async def test_bodies_are_captured_only_when_the_settings_say_so() -> None:
    for capture in (False, True):
        for stream, script in ((True, events("hello ", "there")), (False, [whole()])):
            stage = scene(list(script), document=settings(ledger={"capture": capture}))
            await run(stage, stream=stream)
            payload = stage.ledger.only.payload
            assert (payload is not None) == capture
            assert payload is None or b"hello there" in payload[1]


def test_nothing_that_closes_an_entry_awaits() -> None:
    tree = ast.parse(inspect.getsource(pipeline))
    finals = [node.finalbody for node in ast.walk(tree) if isinstance(node, ast.Try) and node.finalbody]
    (final,) = finals
    nodes = [node for statement in final for node in ast.walk(statement)]
    assert not [node for node in nodes if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Yield)]
    closers = (settle, Gateway.keep, Gateway.capture, observe, end_well, end_badly)
    assert not [each.__name__ for each in closers if inspect.iscoroutinefunction(each)]


async def test_a_refusal_in_reading_the_body_is_recorded() -> None:
    stage = scene([whole()])
    ending = await run(stage, Arrival("chat.completions", {}, b"", BadRequest("cut short")))
    assert ending.error is not None
    assert stage.ledger.only.error_code == "invalid_request"

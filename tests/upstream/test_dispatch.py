"""What is tried again, where and how often; and what never is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backend.call import Call, Chunk, Entry, Route
from backend.errors import (
    BadRequest,
    GatewayError,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from backend.gateway.bill import Bill
from backend.pricing.prices import PriceBook
from backend.settings.knobs import Deployment, Settings
from backend.upstream.dispatch import Dispatch
from tests.fakes import HANG, PAUSE, FakeClient, FakeLedger, Script, call, deployment, event, events, settings, whole

OK: Script = [whole()]
A, B, C = deployment("a"), deployment("b"), deployment("c")


def refused(status: int, **more: Any) -> Callable[[], UpstreamError]:
    return lambda: UpstreamRefused("no", status=status, body=None, **more)


def unreachable() -> UpstreamError:
    return UpstreamUnreachable("away")


def timeout() -> UpstreamError:
    return UpstreamTimeout("late")


def interrupted() -> UpstreamError:
    return UpstreamInterrupted("cut")


def invalid() -> UpstreamError:
    return UpstreamInvalid("odd")


class Desk:
    """A dispatcher with everything it needs, and what came of one call."""

    def __init__(self, *scripts: Script, document: Settings | None = None) -> None:
        self.client, self.ledger = FakeClient(*scripts), FakeLedger()
        self.settings = document or settings(A, B, C)
        self.dispatch = Dispatch(lambda _: self.client, self.ledger, Bill(lambda: PriceBook([])))
        self.entry = Entry("worker", "chat.completions")
        self.error: GatewayError | None = None
        self.chunks: list[Chunk] = []

    async def send(self, *deployments: Deployment, asked: Call | None = None) -> list[str]:
        """Deployments tried, in order."""
        self.entry = Entry("worker", "chat.completions")
        before = len(self.client.requests)
        stream = self.dispatch.stream(asked or call(), Route(deployments or (A,), "r", ""), self.entry, self.settings)
        self.error = None
        try:
            self.chunks = [chunk async for chunk in stream]
        except GatewayError as error:
            self.error = error
        return [request.deployment.name for request in self.client.requests[before:]]

    @property
    def states(self) -> list[str]:
        """States of the attempts."""
        return [attempt.state for attempt in self.entry.tries]


# failure: (attempts at one deployment, deployments tried of two, state of a failed attempt)
FAILURES = [
    (unreachable, 3, "aba", "failed"),
    (refused(500), 3, "aba", "failed"),
    (refused(503), 3, "aba", "failed"),
    (refused(429), 3, "aba", "failed"),
    (refused(408), 3, "aba", "failed"),
    (refused(409), 3, "aba", "failed"),
    (refused(401), 3, "aba", "failed"),
    (refused(404), 3, "aba", "failed"),
    (refused(400), 1, "a", "failed"),
    (refused(413), 1, "a", "failed"),
    (refused(422), 1, "a", "failed"),
    (timeout, 1, "ab", "unknown"),
    (interrupted, 1, "ab", "unknown"),
    (invalid, 1, "ab", "unknown"),
]
NAMES = ["unreachable", "500", "503", "429", "408", "409", "401", "404", "400", "413", "422"]
NAMES += ["timeout", "interrupted", "invalid"]


@pytest.mark.parametrize(("fault", "alone", "route", "state"), FAILURES, ids=NAMES)
async def test_what_is_tried_again(fault: Callable[[], UpstreamError], alone: int, route: str, state: str) -> None:
    desk = Desk([fault()])
    assert len(await desk.send(A)) == alone
    assert desk.states == [state] * alone
    assert "".join(await desk.send(A, B)) == route
    assert desk.entry.attempts == len(route)
    assert isinstance(desk.error, UpstreamError)


@pytest.mark.parametrize("fault", [timeout, interrupted, invalid])
async def test_an_ambiguous_failure_is_repeated_only_where_the_settings_say_so(
    fault: Callable[[], UpstreamError],
) -> None:
    desk = Desk([fault()], document=settings(A, upstream={"retry_ambiguous": True}))
    assert await desk.send(A) == ["a", "a", "a"]


@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
async def test_attempts_are_bounded_over_all_deployments(attempts: int) -> None:
    desk = Desk([refused(500)()], document=settings(A, B, C, upstream={"max_attempts": attempts}))
    assert "".join(await desk.send(A, B, C)) == "abcab"[:attempts]


@pytest.mark.parametrize(("fault", "alone", "route", "state"), FAILURES, ids=NAMES)
async def test_nothing_is_tried_again_once_a_chunk_was_shown(
    fault: Callable[[], UpstreamError], alone: int, route: str, state: str
) -> None:
    for shown in range(1, 4):
        desk = Desk([*events("one", "two")[:shown], fault()], OK)
        assert await desk.send(A, B, asked=call(stream=True)) == ["a"]
        assert desk.states == ["unknown" if fault is not unreachable else "failed"]


async def test_a_fallback_answers_and_every_attempt_has_a_row_before_it_is_made() -> None:
    desk = Desk([refused(500)()], [unreachable()], OK)
    assert await desk.send(A, B, C) == ["a", "b", "c"]
    assert desk.states == ["failed", "failed", "settled"]
    assert [name for _, _, name in desk.ledger.dispatched] == ["a", "b", "c"]
    assert (desk.entry.deployment, desk.entry.attempts, desk.error) == ("c", 3, None)
    assert desk.entry.served_model == "m-1"


async def test_an_empty_stream_is_no_failure_of_the_dispatcher() -> None:
    desk = Desk([])
    await desk.send(A)
    assert (desk.error, desk.chunks) == (None, [])


async def test_what_a_client_refuses_to_send_was_not_billed() -> None:
    desk = Desk([BadRequest("images as data only")])
    assert await desk.send(A, B) == ["a"]
    assert desk.states == ["failed"]


async def test_failures_in_a_row_rest_a_deployment_and_a_success_ends_it() -> None:
    document = settings(A, upstream={"cooldown_failures": 2, "cooldown_s": 60, "max_attempts": 1})
    desk = Desk([refused(500)()], OK, [refused(500)()], [refused(500)()], OK, document=document)
    resting = []
    for _ in range(5):
        await desk.send(A)
        resting.append(desk.dispatch.health.resting("a"))
    assert resting == [False, False, False, True, False]


async def test_a_name_nobody_knows_does_not_rest_a_deployment_that_answers_to_all() -> None:
    document = settings(A, upstream={"cooldown_failures": 1, "max_attempts": 1})
    desk = Desk([refused(404)()], document=document)
    await desk.send(A)
    assert not desk.dispatch.health.resting("a")
    await desk.send(deployment("named", model="m"))
    assert desk.dispatch.health.resting("named")


async def test_a_deployment_at_its_limit_is_passed_over() -> None:
    narrow = deployment("narrow", max_parallel=1)
    desk = Desk([PAUSE, whole()], document=settings(narrow, B, upstream={"max_attempts": 2}))
    desk.dispatch.health.begin("narrow")
    assert await desk.send(narrow, B) == ["b"]
    desk.settings = settings(narrow, upstream={"max_attempts": 1})
    assert await desk.send(narrow) == []
    assert desk.error is not None
    assert (desk.error.status, desk.error.code, desk.error.retry_after_ms) == (429, "deployment_busy", 1000)
    desk.dispatch.health.end("narrow")
    assert await desk.send(narrow) == ["narrow"]


async def test_a_call_waits_for_its_turn_and_says_how_long() -> None:
    narrow = deployment("narrow", max_parallel=1, queue_s=30.0)
    desk = Desk([whole()], document=settings(narrow, B))
    desk.dispatch.health.begin("narrow")
    waiting = asyncio.create_task(desk.send(narrow, B))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    desk.dispatch.health.end("narrow")
    assert await waiting == ["narrow"]
    assert desk.entry.queue_ms is not None
    assert 10 <= desk.entry.queue_ms < 30_000


async def test_no_attempt_begins_after_the_calls_deadline() -> None:
    desk = Desk([PAUSE, timeout()])
    asked = call()
    asked.latency_budget_ms = 0.001
    assert await desk.send(A, B, C, asked=asked) == ["a"]


async def test_the_deadline_of_an_attempt_is_what_is_left_of_the_call() -> None:
    desk = Desk(OK)
    asked = call()
    asked.latency_budget_ms = 5000
    await desk.send(A, asked=asked)
    (request,) = desk.client.requests
    assert 0 < request.deadline_s <= 5


async def test_a_pause_that_was_asked_for_is_kept_or_the_caller_is_told() -> None:
    desk = Desk([refused(429, retry_after_ms=10)()], OK)
    assert await desk.send(A) == ["a", "a"]
    desk = Desk([refused(429, retry_after_ms=60_000)()], OK)
    assert await desk.send(A) == ["a"]
    assert desk.error is not None
    assert desk.error.retry_after_ms == 60_000


OPTION = b'{"error":{"message":"Unrecognized argument: stream_options","type":"x","param":null,"code":null}}'


async def test_a_deployment_that_refuses_to_be_asked_for_usage_is_asked_without() -> None:
    stubborn = UpstreamRefused("Unrecognized argument", status=400, body=OPTION)
    for options in (None, {"include_usage": False}, {}):
        own: dict[str, Any] = {"stream_options": options} if options is not None else {}
        desk = Desk([stubborn], events("a"), document=settings(A, upstream={"max_attempts": 1}))
        assert await desk.send(A, asked=call(stream=True, **own)) == ["a", "a"]
        assert desk.error is None
        asked, again = desk.client.bodies
        assert asked["stream_options"]["include_usage"] is True
        assert again.get("stream_options") == options
        assert await desk.send(A, asked=call(stream=True)) == ["a"], "the lesson was forgotten"
        assert "stream_options" not in desk.client.bodies[-1]


async def test_a_caller_who_asks_for_usage_itself_hears_the_refusal() -> None:
    desk = Desk([UpstreamRefused("Unrecognized argument", status=400, body=OPTION)], events("a"))
    assert await desk.send(A, asked=call(stream=True, stream_options={"include_usage": True})) == ["a"]
    assert desk.error is not None
    assert desk.error.body() == OPTION


async def test_words_in_an_error_teach_nothing_unless_leaving_the_option_out_helps() -> None:
    desk = Desk([UpstreamRefused("echoed", status=400, body=OPTION)])
    assert await desk.send(A, asked=call(stream=True)) == ["a", "a"]
    desk.client.scripts = [events("a")]
    await desk.send(A, asked=call(stream=True))
    assert desk.client.bodies[-1]["stream_options"] == {"include_usage": True}


async def test_time_at_the_deployment_is_not_overhead() -> None:
    desk = Desk([PAUSE, event({"content": "a"}), PAUSE, event({}, "stop")])
    await desk.send(A, asked=call(stream=True))
    assert desk.entry.upstream_s > 0
    assert desk.entry.tries[0].ttft_ms is not None
    assert (desk.entry.tries[0].latency_ms or 0) >= desk.entry.tries[0].ttft_ms


async def test_a_stream_left_alone_frees_its_slot() -> None:
    desk = Desk([*events("a", "b"), HANG])
    stream = desk.dispatch.stream(call(stream=True), Route((A,), "r", ""), desk.entry, desk.settings)
    await anext(stream)
    assert desk.dispatch.health.open_calls("a") == 1
    await stream.aclose()
    assert (desk.dispatch.health.open_calls("a"), desk.client.closed) == (0, 1)

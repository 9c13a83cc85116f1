"""the fault proxy breaks connections the way it is told."""

import asyncio

import pytest

from tests.faults.clients import Ask, Outcome, place_call
from tests.faults.proxy import Fault, FaultProxy, Weather
from tests.faults.upstream import Upstream
from tests.faults.waiting import wait_until


async def through(upstream: Upstream, weather: Weather, timeout_s: float = 10.0) -> Outcome:
    async with FaultProxy(upstream.port, weather) as proxy:
        return await place_call(proxy.port, Ask("fake/ok:20", stream=True, timeout_s=timeout_s))


async def test_fair_weather_changes_nothing(upstream: Upstream) -> None:
    outcome = await through(upstream, Weather())
    assert (outcome.end, outcome.done) == ("ok", True)


@pytest.mark.parametrize(
    ("fault", "end"),
    [("refuse", "no_answer"), ("reset", "no_answer"), ("half_close", "no_answer"), ("blackhole", "timeout")],
)
async def test_faults_end_a_call(upstream: Upstream, fault: Fault, end: str) -> None:
    assert (await through(upstream, Weather(fault), timeout_s=0.5)).end == end


async def test_answers_can_be_truncated(upstream: Upstream) -> None:
    outcome = await through(upstream, Weather(truncate_bytes=700))
    assert outcome.end == "cut"
    assert 0 < outcome.bytes < 700


async def test_latency_delays_both_ways(upstream: Upstream) -> None:
    outcome = await through(upstream, Weather(latency_s=0.1))
    assert outcome.end == "ok"
    assert outcome.took_s >= 0.2


async def test_answers_can_trickle(upstream: Upstream) -> None:
    outcome = await through(upstream, Weather(bytes_per_s=100), timeout_s=0.5)
    assert outcome.end == "timeout"


async def test_open_connections_can_be_cut(upstream: Upstream) -> None:
    async with FaultProxy(upstream.port) as proxy:
        task = asyncio.create_task(place_call(proxy.port, Ask("fake/accept-never-answer", stream=True)))
        await wait_until(lambda: bool(upstream.tasks))
        proxy.cut_all()
        assert (await task).end == "no_answer"

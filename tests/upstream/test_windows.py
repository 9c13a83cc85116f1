from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.settings.knobs import Deployment
from backend.upstream.health import Health
from backend.upstream.windows import DeploymentBusy, Windows


def limited(limit: int | None, queue_s: float = 30.0, max_queued: int = 1000) -> Deployment:
    url = "http://127.0.0.1:9/v1"
    return Deployment(name="a", model="m", base_url=url, max_parallel=limit, queue_s=queue_s, max_queued=max_queued)


class Desk:
    def __init__(self) -> None:
        self.health = Health()
        self.windows = Windows(self.health)
        self.begun: list[str] = []

    async def send(self, deployment: Deployment, caller: str, name: str = "") -> None:
        await self.windows.enter(deployment, caller, 60.0)
        self.health.begin("a")
        self.begun.append(name or caller)

    async def line_up(self, deployment: Deployment, *callers: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.send(deployment, caller[0], caller)) for caller in callers]
        await asyncio.sleep(0)
        return tasks

    async def end(self, calls: int = 1) -> None:
        for _ in range(calls):
            self.health.end("a")
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_without_a_limit_everybody_enters() -> None:
    desk = Desk()
    for _ in range(100):
        await desk.send(limited(None), "ana")
    assert len(desk.begun) == 100


async def test_a_call_waits_for_a_place_and_takes_it_when_one_ends() -> None:
    desk = Desk()
    await desk.send(limited(1), "ana", "first")
    [waiting] = await desk.line_up(limited(1), "ben")
    assert desk.begun == ["first"]
    await desk.end()
    assert desk.begun == ["first", "ben"]
    assert waiting.done()


async def test_callers_take_turns_however_many_calls_each_has_waiting() -> None:
    desk = Desk()
    await desk.send(limited(1), "x")
    await desk.line_up(limited(1), "a1", "a2", "a3", "a4", "b1", "c1", "b2")
    for _ in range(7):
        await desk.end()
    assert desk.begun[1:] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_nobody_new_slips_past_those_who_wait() -> None:
    desk = Desk()
    await desk.send(limited(1), "x")
    await desk.line_up(limited(1), "a1")
    desk.health.end("a")
    await desk.line_up(limited(1), "b1")
    await desk.settle()
    assert desk.begun == ["x", "a1"]


async def test_without_patience_a_full_deployment_refuses_at_once() -> None:
    desk = Desk()
    await desk.send(limited(1, queue_s=0.0), "ana")
    with pytest.raises(DeploymentBusy):
        await desk.send(limited(1, queue_s=0.0), "ben")


async def test_patience_ends() -> None:
    desk = Desk()
    await desk.send(limited(1, queue_s=0.01), "ana")
    with pytest.raises(DeploymentBusy):
        await desk.send(limited(1, queue_s=0.01), "ben")
    await desk.end()
    await desk.send(limited(1, queue_s=0.01), "ben")
    assert desk.begun == ["ana", "ben"]


async def test_a_full_queue_refuses() -> None:
    desk = Desk()
    deployment = limited(1, max_queued=1)
    await desk.send(deployment, "ana")
    [waiting] = await desk.line_up(deployment, "b1")
    with pytest.raises(DeploymentBusy):
        await desk.send(deployment, "cleo")
    waiting.cancel()


async def test_a_burst_that_fills_the_queue_gives_way_to_who_has_fewer_waiting() -> None:
    desk = Desk()
    deployment = limited(1, max_queued=3)
    await desk.send(deployment, "x")
    burst = await desk.line_up(deployment, "a1", "a2", "a3")
    [other] = await desk.line_up(deployment, "b1")
    await desk.settle()
    assert isinstance(burst[2].exception(), DeploymentBusy)
    assert not other.done()
    with pytest.raises(DeploymentBusy):
        await desk.send(deployment, "a", "a4")
    for _ in range(3):
        await desk.end()
    assert desk.begun == ["x", "a1", "b1", "a2"]


async def test_a_raised_limit_lets_in_those_who_wait() -> None:
    desk = Desk()
    await desk.send(limited(1), "x")
    await desk.line_up(limited(1), "a1", "a2")
    await desk.line_up(limited(4), "b1")
    await desk.settle()
    assert sorted(desk.begun) == ["a1", "a2", "b1", "x"]


async def test_who_hangs_up_in_line_leaves_their_place_to_the_next() -> None:
    desk = Desk()
    await desk.send(limited(1), "x")
    first, second = await desk.line_up(limited(1), "a1", "b1")
    first.cancel()
    await desk.end()
    assert desk.begun == ["x", "b1"]
    assert second.done()


async def test_who_hangs_up_when_called_in_leaves_the_place_to_the_next() -> None:
    desk = Desk()
    await desk.send(limited(1), "x")
    first, second = await desk.line_up(limited(1), "a1", "b1")
    desk.health.end("a")  # a1 is called in, and hangs up before it hears of it
    first.cancel()
    await asyncio.wait({second}, timeout=5)
    assert desk.begun == ["x", "b1"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_limit_holds_and_no_place_is_lost_whatever_happens(data: st.DataObject) -> None:
    async def live() -> None:
        desk = Desk()
        deployment = limited(data.draw(st.integers(1, 4)), max_queued=data.draw(st.integers(1, 6)))
        tasks: list[asyncio.Task[None]] = []
        for step in data.draw(st.lists(st.sampled_from(["come", "end", "quit", "tick"]), max_size=40)):
            if step == "come":
                tasks += await desk.line_up(deployment, data.draw(st.sampled_from(["a", "b", "c"])))
            elif step == "end" and desk.health.open_calls("a"):
                desk.health.end("a")
            elif step == "quit" and tasks:
                data.draw(st.sampled_from(tasks)).cancel()
            else:
                await asyncio.sleep(0)
            assert desk.health.open_calls("a") <= (deployment.max_parallel or 0)
        while not all(task.done() for task in tasks):
            if desk.health.open_calls("a"):
                desk.health.end("a")
            await asyncio.sleep(0)
        assert desk.windows._queues.get("a") is None or desk.windows._queues["a"].called == 0

    asyncio.run(asyncio.wait_for(live(), 10))

"""Deadlines end what is late, leave alone what is in time, and keep nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from backend.deadlines import TICK_S, Deadlines


async def test_a_block_that_lasts_too_long_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError), Deadlines().within(0.001):
        await asyncio.Event().wait()


async def test_a_block_that_ends_in_time_goes_on() -> None:
    deadlines = Deadlines()
    for _ in range(3):
        with deadlines.within(0.001):
            pass
    await asyncio.sleep(3 * TICK_S)


async def test_nothing_ends_early() -> None:
    loop = asyncio.get_running_loop()
    began, ended = loop.time(), loop.create_future()
    Deadlines().after(0.05, lambda: ended.set_result(loop.time()))
    assert await ended - began >= 0.05


async def test_a_cancelled_deadline_is_not_called() -> None:
    deadlines, called = Deadlines(), list[str]()
    first, second = (deadlines.after(0.0, lambda name=name: called.append(name)) for name in ("first", "second"))  # type: ignore[misc]
    first.cancel()
    await asyncio.sleep(3 * TICK_S)
    assert called == ["second"]
    second.cancel()


async def test_an_error_in_a_block_stays_what_it_is() -> None:
    with pytest.raises(LookupError), Deadlines().within(1.0):
        raise LookupError


async def test_a_task_that_somebody_else_cancels_is_cancelled() -> None:
    async def wait() -> None:
        with Deadlines().within(60.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_of_two_blocks_ends_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(60.0):
        with pytest.raises(TimeoutError), deadlines.within(0.001):
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_the_clock_stops_when_nothing_is_due_and_starts_again() -> None:
    deadlines = Deadlines()
    for _ in range(2):
        deadlines.after(0.0, lambda: None)
        assert deadlines._ticking
        await asyncio.sleep(5 * TICK_S)
        assert not deadlines._ticking
        assert not deadlines._due


async def test_ten_thousand_deadlines_that_were_met_leave_nothing() -> None:
    deadlines = Deadlines()
    kept = [deadlines.after(number / 10, lambda: None) for number in range(10_000)]
    for deadline in kept:
        deadline.cancel()
    assert not deadlines._due

"""kill -9 and SIGTERM under load: whatever a client holds or the upstream took is in the ledger, once."""

import asyncio
import itertools
import random

import pytest

from tests.faults.clients import Ask
from tests.faults.load import Load, kill, mix
from tests.faults.rig import Rig
from tests.faults.waiting import wait_until

pytestmark = pytest.mark.faults


async def test_nothing_is_lost_or_doubled_by_kill_9(pair: Rig, kills: int) -> None:
    pair.start()
    dice = random.Random(9)
    load = Load(pair, mix(dice))
    for kind in itertools.islice(itertools.cycle(["worker", "group", "drainer", "group"]), kills):
        await asyncio.sleep(dice.uniform(0.2, 1.0))
        await kill(pair.gateway, kind)
    await load.stop()
    books = pair.close()
    ends = [line["end"] for line in books.client]
    assert ends.count("ok") > kills
    assert {"no_answer", "cut"} & set(ends)


async def test_sigterm_cuts_what_never_ends_and_records_it(rig: Rig) -> None:
    rig.gateway.environment["GOVERNOR_DRAIN_DEADLINE_S"] = "1"
    rig.start()
    endless = ["accept-never-answer", "headers-only", "stall-after-n:4", "slow-stream:600:600000"]
    asks = [Ask(f"fake/{name}", stream=stream) for name in endless for stream in (True, False)]
    load = asyncio.create_task(rig.place_all(asks))
    await wait_until(lambda: len(rig.acceptances()) == len(asks))
    books = await asyncio.to_thread(rig.close)
    assert {outcome.end for outcome in await load} <= {"cut", "error", "no_answer"}
    assert len(books.calls) == len(asks)
    assert {call["state"] for call in books.calls} <= {"estimated", "unknown"}


async def test_sigterm_under_load_finishes_what_was_begun(pair: Rig, kills: int) -> None:
    pair.start()
    dice = random.Random(15)
    load = Load(pair, mix(dice))
    for _ in range(max(2, kills // 10)):
        await asyncio.sleep(dice.uniform(0.5, 1.5))
        assert await asyncio.to_thread(pair.gateway.stop) == 0
        await asyncio.to_thread(pair.gateway.start)
    await load.stop()
    books = pair.close()
    ends = [line["end"] for line in books.client]
    assert "cut" not in ends
    assert ends.count("ok") > 20

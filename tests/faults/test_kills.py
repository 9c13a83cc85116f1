"""kill -9 and SIGTERM under load: whatever a client holds or the upstream took is in the ledger, once."""

import asyncio
import itertools
import random

import pytest

from tests.faults.load import Load, kill, mix
from tests.faults.rig import Rig

pytestmark = pytest.mark.faults


async def test_nothing_is_lost_or_doubled_by_kill_9(pair: Rig, kills: int) -> None:
    pair.start()
    dice = random.Random(9)
    load = Load(pair, mix(dice))
    for kind in itertools.islice(itertools.cycle(["worker", "group", "worker", "drainer"]), kills):
        await asyncio.sleep(dice.uniform(0.2, 1.0))
        await kill(pair.gateway, kind)
    await load.stop()
    books = pair.close()
    ends = [line["end"] for line in books.client]
    assert ends.count("ok") > kills
    assert {"no_answer", "cut"} & set(ends)


async def test_sigterm_under_load_finishes_what_was_begun(pair: Rig, kills: int) -> None:
    pair.start()
    dice = random.Random(15)
    load = Load(pair, mix(dice))
    for _ in range(max(3, kills // 10)):
        await asyncio.sleep(dice.uniform(0.5, 1.5))
        assert await asyncio.to_thread(pair.gateway.stop) == 0
        await asyncio.to_thread(pair.gateway.start)
    await load.stop()
    books = pair.close()
    ends = [line["end"] for line in books.client]
    assert "cut" not in ends
    assert ends.count("ok") > 20

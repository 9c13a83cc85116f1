"""Mixed traffic in the background, and the ways to kill a gateway under it."""

import asyncio
import itertools
import random
from collections.abc import Iterator

from tests.faults.clients import Ask, Cut
from tests.faults.processes import Gateway
from tests.faults.rig import Rig
from tests.faults.waiting import wait_until

PER_SECOND = 20
HONEST = ("ok", "ok", "slow-stream:8:400", "slow-first-byte:200", "cached-usage")
MIXED = (*HONEST, "no-usage", "500-then-ok", "error-chunk", "status:503", "die-at-byte-n:500")


def mix(dice: random.Random, behaviours: tuple[str, ...] = MIXED, leaving: float = 0.1) -> Iterator[Ask]:
    """Endless traffic; a share of the callers hangs up."""
    for number in itertools.count():
        stream = dice.random() < 0.6
        cut = Cut(after_s=dice.uniform(0, 0.3)) if dice.random() < leaving else None
        yield Ask(f"fake/{dice.choice(behaviours)}@{number}", stream=stream, cut=cut, timeout_s=30)


class Load:
    """Traffic in the background until it is told to stop."""

    def __init__(self, rig: Rig, asks: Iterator[Ask], per_second: float = PER_SECOND) -> None:
        self._stopping = False
        wanted = itertools.takewhile(lambda _: not self._stopping, asks)
        self._task = asyncio.create_task(rig.load(wanted, per_second))

    async def stop(self) -> None:
        """Place no more calls and wait for those that are open."""
        self._stopping = True
        await self._task


async def kill(gateway: Gateway, kind: str) -> None:
    """Kill -9 one process or all of them, and wait until calls can be taken again."""
    if kind == "group":
        await asyncio.to_thread(gateway.kill_group)
        await asyncio.to_thread(gateway.start)
        return
    victims = await asyncio.to_thread(gateway.workers)
    if kind == "drainer":
        working = {worker.pid for worker in victims}
        victims = [child for child in gateway.children() if child.pid not in working and not child.children()]
    victim = random.Random(kind).choice(victims)
    victim.kill()
    await wait_until(lambda: not victim.is_running())
    await gateway.wait_ready()

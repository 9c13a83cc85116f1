"""Waiting for something another process does, where no event can be had."""

import asyncio
from collections.abc import Callable

POLL_S = 0.02


async def wait_until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Poll `holds` until it is true; raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            if holds():
                return
            await asyncio.sleep(POLL_S)

"""Batch jobs in a worker: looks for jobs that nobody holds, runs a few of them beside each other, behind live calls."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from backend.gateway.job_run import JobRun
from db.engine import DatabaseError

if TYPE_CHECKING:
    from backend.batch.desk import Desk
    from backend.gateway.gateway import Gateway
    from backend.settings.knobs import BatchSettings

_LOOK_S = 1.0
_DRAIN_LOOK_S = 0.1
_SWEEP_S = 3600.0

log = logging.getLogger("governor.batch")


class Batching:
    """One worker's part in it."""

    def __init__(self, gateway: Gateway, desk: Desk, drain_s: float) -> None:
        self._gateway = gateway
        self._desk = desk
        self._drain_s = drain_s
        self._runs: dict[asyncio.Task[None], JobRun] = {}
        self._news = asyncio.Event()
        self._sweep_at = 0.0

    def wake(self) -> None:
        """A job was made or cancelled: look now."""
        self._news.set()

    async def watch(self) -> None:
        """Look for jobs until the worker drains, then see lines under way to their end; cut off when cancelled."""
        try:
            while not self._gateway.draining:
                try:
                    await self.look()
                except DatabaseError as error:
                    log.debug("batch jobs wait for the database: %s", type(error).__name__)
                except Exception:  # jobs may never end a worker
                    log.exception("looking for batch jobs failed")
                await self._pause()
            await self._drain()
        finally:
            for task, run in self._runs.items():
                run.cut()
                task.cancel()
            if self._runs:
                await asyncio.wait(self._runs)

    async def look(self) -> None:
        """Take up jobs as long as there is room for them."""
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP_S
            await asyncio.to_thread(self._desk.sweep, self._knobs.keep_days)
        while len(self._runs) < self._knobs.jobs_per_worker:
            job = await asyncio.to_thread(self._desk.claim)
            if job is None:
                return
            run = JobRun(self._gateway, self._desk, job, self._live_calls)
            task = asyncio.create_task(run.run())
            self._runs[task] = run
            task.add_done_callback(self._forget)

    async def settled(self) -> None:
        """Wait until no job runs here."""
        while self._runs:
            await asyncio.wait(self._runs)

    @property
    def _knobs(self) -> BatchSettings:
        return self._gateway.settings.current.settings.batch

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._runs.pop(task, None)
        self._news.set()

    def _live_calls(self) -> int:
        """Calls in flight that are no lines of jobs."""
        return self._gateway.open_calls - sum(len(run.under_way) for run in self._runs.values())

    async def _pause(self) -> None:
        """Until there is news, a moment has passed or the worker begins to drain."""
        until = time.monotonic() + _LOOK_S
        while time.monotonic() < until and not self._gateway.draining:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_LOOK_S):
                    await self._news.wait()
                self._news.clear()
                return

    async def _drain(self) -> None:
        for run in self._runs.values():
            run.stop()
        if not self._runs:
            return
        _, late = await asyncio.wait(self._runs, timeout=self._drain_s)
        for task in late:
            self._runs[task].cut()
        if late:
            await asyncio.wait(late)

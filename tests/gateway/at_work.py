"""Jobs at work in a test: knobs that wait for nothing, a worker, and what it came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backend.errors import UpstreamRefused
from backend.gateway import batching as module
from backend.gateway import job_run
from backend.gateway.batching import Batching
from backend.settings.knobs import Settings
from db.engine import Engine
from tests.batch.jobs import Office
from tests.fakes import Scene, settings

COST_NUSD = 2850
BUSY = UpstreamRefused("slow down", status=429, body=None, retry_after_ms=1)


def knobs(*deployments: Any, **batch: Any) -> Settings:
    upstream = {"max_attempts": 1, "backoff_ms": 0, "cooldown_failures": 1000}
    return settings(*deployments, upstream=upstream, cache={"exact_enabled": False}, batch={"backoff_ms": 0} | batch)


@pytest.fixture
def office(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setattr(job_run, "_LOOK_S", 0.005)
    monkeypatch.setattr(job_run, "_EXCHANGE_S", 0.0)
    monkeypatch.setattr(job_run, "_RETRY_S", 0.001)
    monkeypatch.setattr(module, "_DRAIN_LOOK_S", 0.005)
    return Office(sqlite)


def at_work(stage: Scene, office: Office, worker: str = "a") -> Batching:
    return Batching(stage.gateway, office.desk(worker), 5.0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


@asynccontextmanager
async def watched(batching: Batching) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(batching.watch())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def finish(stage: Scene, office: Office, job_id: str) -> dict[str, Any]:
    """Run until no job is left; the batch as it then is."""
    batching = at_work(stage, office)
    await batching.look()
    await batching.settled()
    return office.shown(job_id)

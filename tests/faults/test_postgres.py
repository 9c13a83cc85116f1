"""PostgreSQL stops, freezes, cuts its clients and holds locks: calls go on, and every row arrives once."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.load import HONEST, Load, mix
from tests.faults.postgres import PostgresProcess
from tests.faults.rig import Rig

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

PER_SECOND = 25


async def stop_at_once(postgres: PostgresProcess, away_s: float) -> None:
    await asyncio.to_thread(postgres.stop_at_once)
    await asyncio.sleep(away_s / 2)
    await asyncio.to_thread(postgres.start)


async def freeze(postgres: PostgresProcess, away_s: float) -> None:
    postgres.freeze()
    await asyncio.sleep(away_s)
    postgres.thaw()


async def cut_clients(postgres: PostgresProcess, away_s: float) -> None:
    for _ in range(10):
        with postgres.connect() as link:
            link.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
        await asyncio.sleep(away_s / 20)


async def hold_lock(postgres: PostgresProcess, away_s: float) -> None:
    with postgres.connect() as link:
        link.execute("lock table calls in access exclusive mode")
        await asyncio.sleep(away_s / 2)


async def test_calls_go_on_while_postgres_is_away(tmp_path: Path, postgres: PostgresProcess, thorough: bool) -> None:
    away_s = 30.0 if thorough else 4.0
    rig = Rig(tmp_path, workers=2, environment={"GOVERNOR_DATABASE_URL": postgres.url})
    try:
        rig.start()
        load = Load(rig, mix(random.Random(7), HONEST, leaving=0.0), PER_SECOND)
        for fault in (freeze, stop_at_once, cut_clients, hold_lock):
            await asyncio.sleep(0.5)
            await fault(postgres, away_s)
        await load.stop()
        books = rig.close()
    finally:
        rig.remove()
    assert {line["end"] for line in books.client} == {"ok"}


async def test_a_gateway_killed_while_postgres_is_away_starts_when_it_is_back(
    tmp_path: Path, postgres: PostgresProcess
) -> None:
    rig = Rig(tmp_path, environment={"GOVERNOR_DATABASE_URL": postgres.url})
    try:
        rig.start()
        load = Load(rig, mix(random.Random(8)), PER_SECOND)
        postgres.freeze()
        await asyncio.sleep(1.5)
        await asyncio.to_thread(rig.gateway.kill_group)
        postgres.thaw()
        await asyncio.to_thread(postgres.stop_at_once)
        rig.gateway.launch()
        with pytest.raises(TimeoutError):
            await rig.gateway.wait_ready(8)
        await asyncio.to_thread(postgres.start)
        await rig.gateway.wait_ready()
        await asyncio.sleep(0.5)
        await load.stop()
        books = rig.close()
    finally:
        rig.remove()
    assert [line["end"] for line in books.client].count("ok") > 10

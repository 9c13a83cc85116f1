"""An engine killed again and again under load: calls fall back or fail visibly, and the ledger has them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from backend.engine import wishes
from backend.engine.launch import PYTHON_VARIABLE
from backend.engine.process import Pid, session_members
from backend.settings.store import Change, apply_partial
from tests.cli.governor_process import GovernorProcess
from tests.engine.callers import Load, ask_once, count_whole, export
from tests.engine.houses import BY, KeptHouse, write_fake_python

FALLBACK = "simulated-gpt-4o-mini"

pytestmark = pytest.mark.faults


@pytest.fixture
def house(tmp_path: Path) -> Iterator[KeptHouse]:
    (tmp_path / "data").mkdir()
    with KeptHouse(tmp_path / "data") as found:
        found.configure({"name": "small"})
        apply_partial(found.engine, Change({"routing": {"default_fallbacks": [FALLBACK]}}, BY))
        wishes.start_engine(found.engine, "small", BY)
        yield found


@pytest.fixture
def gateway(house: KeptHouse, tmp_path: Path) -> Iterator[GovernorProcess]:
    fake = str(write_fake_python(tmp_path))
    with GovernorProcess(tmp_path, "gateway", **{PYTHON_VARIABLE: fake}) as process:
        house.wait_for_state("ready")
        yield process
        assert process.stop() == 0


def kill_core(house: KeptHouse) -> None:
    row = house.row()
    assert row.pid is not None
    assert row.pid_started_at is not None
    _, _, core = sorted(session_members(Pid(row.pid, row.pid_started_at)))
    psutil.Process(core).kill()


def wait_for_answers(house: KeptHouse, load: Load, count: int) -> None:
    house.wait(lambda: len(load.outcomes) >= count)


async def test_kills_under_load_cost_no_call_its_record(house: KeptHouse, gateway: GovernorProcess, kills: int) -> None:
    load = Load(gateway.port, "small")
    callers = asyncio.create_task(load.run(4))
    rounds = max(2, kills // 10)
    for number in range(1, rounds + 1):
        await asyncio.to_thread(wait_for_answers, house, load, len(load.outcomes) + 20)
        kill_core(house)
        await asyncio.to_thread(house.wait_for_kind, "back off", number)
        await asyncio.to_thread(house.wait_for_kind, "ready", number + 1)
    load.done.set()
    await callers
    assert (await ask_once(gateway.port, "small", "are you back")).whole
    placed, whole = len(load.outcomes) + 1, count_whole(load.outcomes) + 1
    house.wait(lambda: len(export(gateway)) == placed)
    rows = export(gateway)
    assert {row["state"] for row in rows} <= {"settled", "failed", "estimated", "unknown"}
    assert Counter(row["status"] for row in rows)["ok"] == whole
    assert {row["deployment"] for row in rows if row["status"] == "ok"} == {"small", FALLBACK}
    assert house.kinds().count("start") == rounds + 1


async def test_a_killed_keeper_takes_its_engines_with_it_and_the_next_brings_them_back(
    house: KeptHouse, gateway: GovernorProcess
) -> None:
    row = house.row()
    assert row.pid is not None
    assert row.pid_started_at is not None
    old = [psutil.Process(pid) for pid in session_members(Pid(row.pid, row.pid_started_at))]
    (keeper,) = gateway.children("keeper")
    keeper.kill()
    assert not psutil.wait_procs(old, timeout=60)[1]
    house.wait(lambda: house.kinds().count("ready") == 2)
    assert (await ask_once(gateway.port, "small", "are you back")).whole

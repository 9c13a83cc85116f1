"""Sweeps run beside a serving engine: one at a time, ended with their keeper."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from backend.engine.shapes import Shape
from backend.engine.sweep import Plan
from backend.engine.sweeper import Sweeper, make_scene
from backend.settings.knobs import EngineSettings, EngineSpec
from db.engine import Engine, reading, writing
from db.sweeps import SweepRow, claim_sweep, insert_sweep, read_sweep
from tests.engine.speaking import speaking

KNOBS = EngineSettings(slo_ttft_p95_ms=60_000, slo_itl_p95_ms=60_000)
SPEC = EngineSpec(name="local", kind="attached", model="m", base_url="http://127.0.0.1:9/v1")
QUICK = Plan((1,), (Shape(4, 1),), warm_up_s=0.0, measure_s=0.1)
ENDLESS = Plan((1,), (Shape(4, 1),), warm_up_s=0.0, measure_s=3600.0)


def queue(engine: Engine, sweep_id: str, plan: Plan) -> None:
    with writing(engine) as connection:
        insert_sweep(connection, SweepRow(sweep_id, "local", "queued", plan.write(), "ann", "to know", 1))


def state_of(engine: Engine, sweep_id: str) -> str:
    with reading(engine) as connection:
        row = read_sweep(connection, sweep_id)
    assert row is not None
    return row.state


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_queued_sweep_is_run_while_the_engine_serves(sqlite: Engine, tmp_path: Path) -> None:
    queue(sqlite, "one", QUICK)
    sweeper = Sweeper(sqlite, tmp_path, "local")
    with speaking() as server:
        sweeper.look(server.place, SPEC, KNOBS)
        wait_until(lambda: state_of(sqlite, "one") == "done")
    sweeper.end()
    assert not sweeper.busy


def test_what_an_earlier_keeper_left_running_has_failed_and_the_next_is_run(sqlite: Engine, tmp_path: Path) -> None:
    queue(sqlite, "left", QUICK)
    with writing(sqlite) as connection:
        assert claim_sweep(connection, "left", 1)
    queue(sqlite, "next", QUICK)
    sweeper = Sweeper(sqlite, tmp_path, "local")
    with speaking() as server:
        sweeper.look(server.place, SPEC, KNOBS)
        wait_until(lambda: state_of(sqlite, "next") == "done")
    assert state_of(sqlite, "left") == "failed"
    sweeper.end()


def test_a_keeper_that_ends_cancels_its_sweep(sqlite: Engine, tmp_path: Path) -> None:
    queue(sqlite, "long", ENDLESS)
    sweeper = Sweeper(sqlite, tmp_path, "local")
    with speaking() as server:
        sweeper.look(server.place, SPEC, KNOBS)
        wait_until(lambda: bool(server.bodies))
        sweeper.look(server.place, SPEC, KNOBS)
        assert sweeper.busy
        sweeper.end()
    assert state_of(sqlite, "long") == "cancelled"


def test_only_a_managed_engine_can_be_launched_with_another_batch_size(tmp_path: Path) -> None:
    with speaking() as server:
        assert make_scene(server.place, SPEC, KNOBS, tmp_path).launch is None
        managed = EngineSpec(name="local", model="m")
        assert make_scene(server.place, managed, KNOBS, tmp_path).launch is not None

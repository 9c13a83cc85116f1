"""Sweeps run beside a serving engine: one at a time, ended with their keeper."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.engine import sweeper as sweeper_module
from backend.engine.health import Place
from backend.engine.launch import PYTHON_VARIABLE
from backend.engine.process import Pid
from backend.engine.shapes import Shape
from backend.engine.sweep import Plan, run_sweep
from backend.engine.sweeper import Sweeper, make_scene
from backend.engine.weights import Variant
from backend.settings.knobs import EngineSettings, EngineSpec
from db.engine import Engine, reading, writing
from db.sweeps import SweepRow, claim_sweep, insert_sweep, read_sweep
from tests.engine.houses import write_fake_python
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
        scene = make_scene(server.place, managed, KNOBS, tmp_path)
    assert scene.launch is not None
    assert scene.variant == Variant("m")


@pytest.mark.parametrize("leader", [None, Pid(1, 1)])
def test_another_batch_size_without_room_fails_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leader: Pid | None
) -> None:
    monkeypatch.setattr(sweeper_module, "has_room_for_both", lambda *_: False)
    managed = EngineSpec(name="local", model="m")
    plan = Plan((1,), (Shape(4, 1),), max_num_seqs=(8,), warm_up_s=0.0, measure_s=0.1)
    row = SweepRow("one", "local", "queued", plan.write(), "ann", "to know", 1)
    scene = make_scene(Place("http://127.0.0.1:9/v1", "m"), managed, KNOBS, tmp_path, leader)
    outcome = run_sweep(row, scene, lambda *_: None, lambda: False)
    assert (outcome.state, "no room for a second engine (batch size 8)" in (outcome.message or "")) == ("failed", True)


def test_a_cancelled_sweep_does_not_wait_for_its_engine_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, str(write_fake_python(tmp_path)))
    monkeypatch.setattr(sweeper_module, "has_room_for_both", lambda *_: True)
    managed = EngineSpec(name="local", model="fake/never-ready")
    plan = Plan((1,), (Shape(4, 1),), max_num_seqs=(8,), warm_up_s=0.0, measure_s=0.1)
    row = SweepRow("one", "local", "queued", plan.write(), "ann", "to know", 1)
    knobs = KNOBS.model_copy(update={"start_deadline_s": 20.0})
    scene = make_scene(Place("http://127.0.0.1:9/v1", "m"), managed, knobs, tmp_path, Pid(1, 1))
    outcome = run_sweep(row, scene, lambda *_: None, lambda: True)
    assert (outcome.state, outcome.message) == ("cancelled", "cancelled")

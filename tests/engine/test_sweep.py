"""A sweep from its plan to its results, in memory and in the database, cancelled and failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from backend.engine.health import Place
from backend.engine.shapes import Shape
from backend.engine.stages import Slo
from backend.engine.sweep import Plan, Scene, read_plan, run_sweep
from backend.engine.sweep_queue import fail_abandoned, next_queued, run_queued
from backend.engine.weights import Variant
from db.engine import Engine, reading, writing
from db.sweeps import SweepRow, claim_sweep, insert_sweep, read_sweep, want_cancel
from tests.engine.speaking import Speaking, speaking

QUICK = Plan((1, 3), (Shape(8, 3),), warm_up_s=0.0, measure_s=0.2)


def row(plan: Plan = QUICK, engine: str = "local") -> SweepRow:
    return SweepRow("sweep-1", engine, "queued", plan.write(), "ann", "to know", 1)


class Told:
    """What a sweep reported."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def __call__(self, done: float, results: Mapping[str, Any]) -> None:
        assert len(results["stages"]) == len(self.steps) + 1
        self.steps.append(done)


def never() -> bool:
    return False


@pytest.fixture
def server() -> Iterator[Speaking]:
    with speaking() as found:
        yield found


def test_every_load_is_measured_and_the_sweet_spot_marked(server: Speaking) -> None:
    told = Told()
    outcome = run_sweep(row(), Scene(server.place, slo=Slo(60_000, 60_000)), told, never)
    assert outcome.state == "done"
    assert told.steps == [0.5, 1.0]
    stages = outcome.results["stages"]
    assert [stage["concurrency"] for stage in stages] == [1, 3]
    assert all(stage["calls"] > 0 and stage["failed"] == 0 for stage in stages)
    assert outcome.results["sweet_spot"]["place"] in {0, 1}
    assert outcome.results["effort"]["completion_us_per_mtok"] > 0
    assert stages[0]["seen"]["completion_tokens"] == 3 * len(server.bodies) - stages[1]["seen"]["completion_tokens"]
    assert b"NaN" not in orjson.dumps(outcome.results)


def test_two_shapes_tell_prompt_from_completion(server: Speaking) -> None:
    plan = Plan((1,), (Shape(40, 1), Shape(4, 12)), warm_up_s=0.0, measure_s=0.3)
    outcome = run_sweep(row(plan), Scene(server.place), Told(), never)
    assert [stage["shape"] for stage in outcome.results["stages"]] == ["40:1", "4:12"]


def test_recorded_traffic_is_one_mixture(server: Speaking) -> None:
    plan = Plan((2,), (Shape(40, 1), Shape(4, 2)), mixed=True, warm_up_s=0.0, measure_s=0.2)
    outcome = run_sweep(row(plan), Scene(server.place), Told(), never)
    assert [stage["shape"] for stage in outcome.results["stages"]] == ["mixed"]
    assert {len(body["prompt"]) for body in server.bodies} == {40, 4}


def test_another_batch_size_is_measured_on_an_engine_launched_for_it(server: Speaking) -> None:
    launched: list[int] = []

    @contextmanager
    def launch(batch: int, _: object) -> Iterator[Place]:
        launched.append(batch)
        yield server.place

    plan = Plan((1,), (Shape(4, 1),), max_num_seqs=(8, 16), warm_up_s=0.0, measure_s=0.1)
    told = Told()
    outcome = run_sweep(row(plan), Scene(Place("http://127.0.0.1:9/v1", "m"), launch=launch), told, never)
    assert launched == [8, 16]
    assert [stage["max_num_seqs"] for stage in outcome.results["stages"]] == [8, 16]
    assert told.steps == [0.5, 1.0]
    cannot = run_sweep(row(plan), Scene(server.place), Told(), never)
    assert (cannot.state, cannot.message) == (
        "failed",
        "another batch size needs a managed engine that can be launched here",
    )


def test_a_cancelled_sweep_keeps_what_it_measured(server: Speaking) -> None:
    told = Told()
    plan = Plan((1, 2), (Shape(4, 1),), warm_up_s=0.0, measure_s=0.2)
    outcome = run_sweep(row(plan), Scene(server.place), told, lambda: bool(told.steps))
    assert outcome.state == "cancelled"
    assert len(outcome.results["stages"]) == 1


def test_a_load_is_cut_short_when_its_sweep_is_cancelled(server: Speaking) -> None:
    plan = Plan((1,), (Shape(4, 1),), warm_up_s=0.0, measure_s=3600.0)
    outcome = run_sweep(row(plan), Scene(server.place), Told(), lambda: bool(server.bodies))
    assert (outcome.state, outcome.results["stages"]) == ("cancelled", [])


def test_a_sweep_of_an_engine_that_is_not_there_fails_and_says_so() -> None:
    outcome = run_sweep(row(), Scene(Place("http://127.0.0.1:9/v1", "m")), Told(), never)
    assert outcome.state == "failed"
    assert "every call failed" in (outcome.message or "")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"concurrency": [0]}, "from 1"),
        ({"shapes": ["many"]}, "is no shape"),
        ({"measure_s": 0}, "an hour at most"),
        ({"concurrency": list(range(1, 52)), "shapes": ["1:1", "2:2"]}, "at most 100 loads, this one 102"),
        ({"concurrency": 5}, "makes no sense"),
    ],
)
def test_a_plan_that_cannot_be_gone_through_is_refused(document: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_plan(orjson.dumps(document).decode())


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = Plan((1, 2), (Shape(8, 3, 4),), True, (4,), 0.5, 2.0)
    assert read_plan(plan.write()) == plan


def test_a_queued_sweep_is_run_once_and_kept(engine: Engine, server: Speaking) -> None:
    with writing(engine) as connection:
        insert_sweep(connection, row())
    queued = next_queued(engine, "local")
    assert queued is not None
    outcome = run_queued(engine, queued, Scene(server.place, variant=Variant("m", "fp8")))
    assert outcome is not None
    assert run_queued(engine, queued, Scene(server.place)) is None
    with reading(engine) as connection:
        kept = read_sweep(connection, "sweep-1")
    assert kept is not None
    assert (kept.state, kept.progress) == ("done", 1.0)
    assert orjson.loads(kept.results or "")["stages"] == orjson.loads(orjson.dumps(outcome.results))["stages"]
    assert orjson.loads(kept.results or "")["variant"] == {"model": "m", "quantisation": "fp8", "dtype": "auto"}
    assert kept.ended_at is not None
    assert next_queued(engine, "local") is None


def test_a_wish_to_cancel_reaches_a_running_sweep(engine: Engine, server: Speaking) -> None:
    plan = Plan((1,), (Shape(4, 1),), warm_up_s=0.0, measure_s=3600.0)
    with writing(engine) as connection:
        insert_sweep(connection, row(plan))
    queued = next_queued(engine, "local")
    assert queued is not None

    server.take = _cancelling(engine, server)  # type: ignore[method-assign]
    outcome = run_queued(engine, queued, Scene(server.place))
    assert outcome is not None
    assert outcome.state == "cancelled"
    with reading(engine) as connection:
        kept = read_sweep(connection, "sweep-1")
    assert kept is not None
    assert kept.state == "cancelled"


def _cancelling(engine: Engine, server: Speaking) -> Any:
    take = server.take

    def take_and_cancel(body: dict[str, Any]) -> int:
        number = take(body)
        if number == 3:
            with writing(engine) as connection:
                assert want_cancel(connection, "sweep-1", 2)
        return number

    return take_and_cancel


def test_a_sweep_left_running_by_a_keeper_that_died_has_failed(engine: Engine) -> None:
    with writing(engine) as connection:
        insert_sweep(connection, row())
        claim_sweep(connection, "sweep-1", 5)
    assert fail_abandoned(engine, frozenset({"other"})) == 0
    assert fail_abandoned(engine, frozenset({"local"})) == 1
    with reading(engine) as connection:
        kept = read_sweep(connection, "sweep-1")
    assert kept is not None
    assert (kept.state, kept.message) == ("failed", "whoever ran it ended")

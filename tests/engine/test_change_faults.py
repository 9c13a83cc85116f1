"""What goes wrong during a change, and what comes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from backend.call import new_id
from backend.engine import change, minder, wishes
from backend.engine.deployments import point_deployments
from backend.engine.journal import now_ms
from backend.engine.shapes import Shape
from backend.engine.sweep import Plan
from backend.engine.trial import measure
from backend.errors import BadRequest
from db.engine import reading, writing
from db.sweeps import SweepRow, insert_sweep, read_sweep
from db.tables import attempts, calls
from tests.engine.houses import BY, KeptHouse, tell_fake
from tests.engine.test_change import apply, launched, make_room, processes


@pytest.mark.parametrize("room", [True, False])
def test_until_a_change_was_watched_the_old_specification_stays_written_down(
    ready: KeptHouse, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    """What a keeper that is killed now leaves to the next one."""
    make_room(monkeypatch, room=room)
    ready.tune(trial_s=500.0)
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: ready.row().message == "watching real calls after the change")
    assert launched(ready)["max_num_seqs"] == 4


def test_a_keeper_that_ends_during_a_change_leaves_the_old_specification(
    ready: KeptHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_room(monkeypatch, room=False)
    pid = ready.row().pid
    apply(ready, model="fake/never-ready")
    ready.wait(lambda: ready.row().pid != pid)
    ready.end_keeper()
    assert (ready.kinds()[-1], launched(ready)["model"]) == ("return", "fake/ok")
    ready.start_keeper()
    ready.wait_for_state("ready")


def test_a_trial_that_breaks_down_without_room_brings_the_old_one_back(
    ready: KeptHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_room(monkeypatch, room=False)

    def break_down(place: Any, spec: Any, seconds: float) -> Any:
        if spec.max_num_seqs == 9:
            raise RuntimeError("a fault in the trial")
        return measure(place, spec, seconds)

    monkeypatch.setattr(change, "measure", break_down)
    apply(ready, max_num_seqs=9)
    ready.wait_for_kind("ready", 2)
    ready.wait_for_state("ready")
    assert launched(ready)["max_num_seqs"] == 4


def test_what_is_asked_for_during_a_change_is_done_after_it(ready: KeptHouse) -> None:
    ready.tune(trial_s=4.0)
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: ready.row().message == "watching real calls after the change")
    wishes.restart_engine(ready.engine, "small", BY)
    ready.wait_for_kind("restart")
    ready.wait_for_state("ready")
    assert launched(ready)["max_num_seqs"] == 9


@pytest.mark.parametrize("error", [BadRequest("refused"), OperationalError("", {}, OSError("away"))])
def test_a_change_whose_calls_cannot_be_led_to_it_is_taken_back(
    ready: KeptHouse, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    old, port, urls = processes(ready), ready.row().port, []

    def refuse(engine: Any, spec: Any, url: str, by: Any) -> bool:
        if url != f"http://127.0.0.1:{port}/v1":
            urls.append(url)
            raise error
        return point_deployments(engine, spec, url, by)

    monkeypatch.setattr(minder, "point_deployments", refuse)
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: urls and not ready.row().request)
    assert "calls could not be led to the new process" in ready.wait_for_kind("return").message
    row = ready.wait_for_state("ready")
    assert (row.port, launched(ready)["max_num_seqs"]) == (port, 4)
    assert all(each.is_running() for each in old)
    with pytest.raises(OSError, match="refused"):
        tell_fake(int(urls[0].split(":")[2].partition("/")[0]), "ok")


def record(house: KeptHouse, ttft_ms: float, count: int = 20) -> None:
    """Streamed calls of now that took so long to their first token."""
    ids, now = [new_id() for _ in range(count)], now_ms()
    said = {"state": "settled", "worker": "w", "stream": True, "started_at": now, "deployment": "small"}
    tried = {
        "number": 1,
        "worker": "w",
        "state": "settled",
        "started_at": now,
        "deployment": "small",
        "http_status": 200,
    }
    with writing(house.engine) as connection:
        connection.execute(insert(calls), [{"id": each, **said} for each in ids])
        connection.execute(insert(attempts), [{"call_id": each, "ttft_ms": ttft_ms, **tried} for each in ids])


@pytest.mark.parametrize(("ttft_ms", "kind"), [(90_000.0, "apply"), (200_000.0, "return")])
def test_real_calls_after_a_change_are_judged_by_those_before_it(ready: KeptHouse, ttft_ms: float, kind: str) -> None:
    """They missed the target all along, which no synthetic load saw."""
    ready.tune(trial_s=3.0)
    record(ready, 90_000.0)
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: ready.row().message == "watching real calls after the change")
    record(ready, ttft_ms)
    ready.wait(lambda: {"apply", "return"} & set(ready.kinds()))
    assert ready.kinds()[2] == kind


@pytest.mark.parametrize("act", [wishes.apply_engine, wishes.restart_engine, wishes.stop_engine])
def test_a_sweep_under_way_is_cancelled_first(ready: KeptHouse, act: Any) -> None:
    plan = Plan((1,), (Shape(4, 1),), warm_up_s=0.0, measure_s=3600.0)

    def state() -> str | None:
        with reading(ready.engine) as connection:
            return getattr(read_sweep(connection, "long"), "state", None)

    with writing(ready.engine) as connection:
        insert_sweep(connection, SweepRow("long", "small", "queued", plan.write(), "ann", "to know", 1))
    ready.wait(lambda: state() == "running")
    ready.change("small", max_num_seqs=9)
    act(ready.engine, "small", BY)
    ready.wait(lambda: {"apply", "restart", "stop"} & set(ready.kinds()))
    ready.wait(lambda: not ready.row().request)
    assert state() == "cancelled"

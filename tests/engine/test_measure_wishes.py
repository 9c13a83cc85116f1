"""What people ask about measurements: signed, audited, refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from backend import actions
from backend.engine.price import TokenRates
from backend.engine.shapes import Shape
from backend.engine.sweep import Plan
from backend.errors import BadRequest, Conflict, NotFound
from backend.settings.signature import Signature
from backend.settings.store import current
from db.engine import Engine, reading, writing
from db.sweeps import claim_sweep, read_sweep, write_sweep
from tests.reports.ledgers import random_rows, write_calls

BY = Signature("ada", "to know")
PLAN = Plan((1, 2), (Shape(8, 4),))


@pytest.fixture
def known(sqlite: Engine) -> Engine:
    """A database whose settings have the engine ``local`` and its deployment."""
    actions.add_engine(sqlite, {"name": "local", "model": "m", "max_model_len": 100}, BY)
    deployment = {"name": "local", "model": "local", "provider": "vllm", "base_url": "http://127.0.0.1:9/v1"}
    actions.apply_settings(sqlite, actions.Change({"deployments": [deployment]}, BY))
    return sqlite


def results(place: int | None, **stage: Any) -> str:
    found = {"sweet_spot": {"place": place, "reason": "because"}, "stages": [{"concurrency": 12, **stage}]}
    return orjson.dumps(found).decode()


def test_a_sweep_is_queued_audited_and_cancelled(known: Engine) -> None:
    sweep_id = actions.queue_sweep(known, "local", PLAN, BY)
    with reading(known) as connection:
        row = read_sweep(connection, sweep_id)
    assert row is not None
    assert (row.state, row.engine, row.actor) == ("queued", "local", "ada")
    actions.cancel_sweep(known, sweep_id, BY)
    with pytest.raises(Conflict, match="has ended already"):
        actions.cancel_sweep(known, sweep_id, BY)
    acts = [act.action for act in actions.list_changes(known)]
    assert acts.count("engine.sweep") == acts.count("engine.sweep.cancel") == 1


def test_a_sweep_of_no_engine_and_a_plan_that_makes_no_sense_are_refused(known: Engine) -> None:
    with pytest.raises(NotFound, match="no engine other; known: local"):
        actions.queue_sweep(known, "other", PLAN, BY)
    with pytest.raises(BadRequest, match="from 1"):
        actions.queue_sweep(known, "local", replace(PLAN, concurrency=()), BY)
    with pytest.raises(NotFound, match="no sweep nothing"):
        actions.cancel_sweep(known, "nothing", BY)


def test_the_sweet_spot_becomes_the_admission_window_and_the_batch_is_staged(known: Engine) -> None:
    sweep_id = actions.queue_sweep(known, "local", PLAN, BY)
    with writing(known) as connection:
        claim_sweep(connection, sweep_id, 1)
        write_sweep(connection, sweep_id, state="done", results=results(0, max_num_seqs=24))
    actions.apply_sweep(known, sweep_id, BY)
    spec = current(known).settings.engine.engines[0]
    assert (spec.max_running, spec.max_num_seqs) == (12, 24)


def test_a_sweep_without_a_sweet_spot_changes_nothing(known: Engine) -> None:
    sweep_id = actions.queue_sweep(known, "local", PLAN, BY)
    with pytest.raises(Conflict, match="nothing was measured"):
        actions.apply_sweep(known, sweep_id, BY)
    with writing(known) as connection:
        write_sweep(connection, sweep_id, state="done", results=results(None))
    with pytest.raises(Conflict, match="found no sweet spot: because"):
        actions.apply_sweep(known, sweep_id, BY)
    assert current(known).settings.engine.engines[0].max_running is None


def test_recorded_calls_give_the_shapes_of_a_load(known: Engine) -> None:
    with pytest.raises(NotFound, match="No answered call"):
        actions.plan_like_traffic(known, "local", PLAN)
    told = ("prompt_tokens", "completion_tokens")
    rows = [row for row in random_rows(50) if row["status"] == "ok" and all(row[name] for name in told)]
    write_calls(known, rows)
    plan = actions.plan_like_traffic(known, "local", PLAN)
    assert plan.mixed
    assert len(plan.shapes) == min(len(rows), 200)
    assert all(shape.prompt_tokens + shape.completion_tokens <= 100 for shape in plan.shapes)


def test_calls_are_priced_as_measured_from_now_on(known: Engine) -> None:
    actions.price_engine(known, "local", TokenRates(12_345_678, 98_765_432), BY)
    price = current(known).settings.deployments[0].price
    assert price is not None
    assert (str(price.input), str(price.output)) == ("0.012345678", "0.098765432")
    actions.add_engine(known, {"name": "fresh", "model": "m"}, BY)
    with pytest.raises(NotFound, match="no deployment fresh yet"):
        actions.price_engine(known, "fresh", TokenRates(1, 1), BY)


def test_an_adjustment_is_kept_beside_the_calls(known: Engine) -> None:
    actions.record_adjustment(known, "local", {"adjustment_nusd": -5}, BY)
    newest = actions.list_changes(known)[0]
    assert (newest.action, newest.subject, newest.changes) == ("engine.adjustment", "local", {"adjustment_nusd": -5})

"""Sweeps as tables: curves, the sweet spot, several side by side."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from backend.engine.load import Call, Run
from backend.engine.shapes import Shape
from backend.engine.stages import Slo, label_stage, sum_up
from backend.engine.sweep import Plan, results_of
from backend.reports.engine_sweeps import CURVE, compare_sweeps, read_one_sweep, read_sweeps
from backend.reports.ledger import Ledger
from backend.settings.knobs import EngineSpec
from db.engine import Engine, writing
from db.sweeps import SweepRow, insert_sweep
from tests.reports.ledgers import ledger_of

PLAN = Plan((1, 4), (Shape(10, 5),))
SEEN = {"acceptance": 0.5, "prefix_hit_rate": None, "preemptions": 0}


def measured(calls: int) -> str:
    """Results of two loads, in the second of which every call took its time."""
    stages = []
    for count, ttft_s in ((1, 0.1), (4, 9.0)):
        made = [Call(0.1, [0.1 + ttft_s, 0.2 + ttft_s], 0.2 + ttft_s, 10, 5) for _ in range(calls * count)]
        run = Run(made, 0.0, 10.0)
        stages.append(label_stage(sum_up(run, count, "10:5", Slo()), None, SEEN))
    return orjson.dumps(results_of(stages, Slo())).decode()


@pytest.fixture
def swept(sqlite: Engine, tmp_path: Path) -> Ledger:
    with writing(sqlite) as connection:
        rows = [
            ("one", "local", "done", measured(3)),
            ("two", "other", "done", measured(5)),
            ("new", "local", "queued", None),
        ]
        for number, (sweep_id, engine, state, results) in enumerate(rows):
            row = SweepRow(sweep_id, engine, state, PLAN.write(), "ann", "to know", number, results=results)
            insert_sweep(connection, row)
    return ledger_of(sqlite, tmp_path)


def test_a_curve_has_a_row_for_each_load_and_marks_the_sweet_spot(swept: Ledger) -> None:
    found = read_one_sweep(swept, "one")
    assert found is not None
    assert list(found.curve.columns) == list(CURVE)
    assert found.curve["concurrency"].tolist() == [1, 4]
    assert found.curve["ttft_p95_ms"].tolist() == pytest.approx([100, 9000])
    assert found.curve["sweet"].tolist() == [True, False]
    assert found.curve["acceptance"].tolist() == [0.5, 0.5]
    assert found.sweet == 0
    assert "the highest goodput" in found.reason
    assert found.plan == PLAN
    assert found.slo["ttft_p95_ms"] == 2000


def test_a_sweep_that_measured_nothing_yet_is_an_empty_curve(swept: Ledger) -> None:
    found = read_one_sweep(swept, "new")
    assert found is not None
    assert found.is_running
    assert found.curve.empty
    assert (found.sweet, found.effort, found.reason) == (None, None, "nothing was measured yet")
    assert read_one_sweep(swept, "gone") is None


def test_sweeps_are_listed_newest_first_and_by_engine(swept: Ledger) -> None:
    assert [each.row.id for each in read_sweeps(swept)] == ["new", "two", "one"]
    assert [each.row.id for each in read_sweeps(swept, "local")] == ["new", "one"]


def test_sweeps_side_by_side_keep_their_names(swept: Ledger) -> None:
    both = compare_sweeps([each for each in read_sweeps(swept) if not each.is_running])
    assert both[["sweep", "engine", "concurrency"]].to_numpy().tolist() == [
        ["two", "other", 1],
        ["two", "other", 4],
        ["one", "local", 1],
        ["one", "local", 4],
    ]
    assert compare_sweeps([each for each in read_sweeps(swept) if each.is_running]).empty


def test_a_sweep_prices_tokens_where_an_hour_has_a_price(swept: Ledger) -> None:
    found = read_one_sweep(swept, "one")
    assert found is not None
    assert found.rates(EngineSpec(name="local", model="m")) is None
    priced = found.rates(EngineSpec(name="local", model="m", usd_per_gpu_hour=Decimal(2)))
    assert priced is not None
    assert priced.output_nusd_per_mtok == pytest.approx(4 * priced.input_nusd_per_mtok, rel=1e-6)

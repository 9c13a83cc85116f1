"""Quality beside speed on the page Engine: how to measure it, what was measured, what a sweep's table says of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.actions import Signature, add_engine
from backend.engine.stages import Slo, Spread, Stage
from backend.engine.sweep import Plan, results_of
from backend.engine.weights import Variant
from db.engine import Engine, connect, writing
from db.engine_qualities import insert_quality
from db.sweeps import SweepRow, insert_sweep
from tests.engine.judged import JUDGED
from tests.pages.conftest import Visit, build_ledger

PATH = "pages/tune/engine.py"
ANA = Signature("ana", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a full-precision engine and a quantised one."""
    found = build_ledger(tmp_path / "rack", 0)
    engine = database(found)
    add_engine(engine, {"name": "chat", "model": JUDGED.reference_model}, ANA)
    add_engine(engine, {"name": "small", "model": JUDGED.model}, ANA)
    return found


def database(folder: Path) -> Engine:
    return connect(f"sqlite:///{folder / 'governor.db'}")


def keep(folder: Path, **changes: Any) -> None:
    with writing(database(folder)) as connection:
        insert_quality(connection, replace(JUDGED, **changes))


def sweep(folder: Path, name: str, tokens_per_s: float, model: str) -> None:
    stage = Stage(4, "256:64", 40, 0, 10.0, 4.0, 4.0, 1000.0, tokens_per_s, Spread(9.0, 20.0, 30.0))
    results = {**results_of([stage], Slo()), "variant": asdict(Variant(model))}
    row = SweepRow(f"s-{name}", name, "done", Plan((4,)).write(), "ana", "how much", 1_790_000_000_000, 1.0)
    with writing(database(folder)) as connection:
        insert_sweep(connection, replace(row, results=orjson.dumps(results).decode()))


def test_an_engine_never_judged_says_how_it_is_measured(visit: Visit, folder: Path) -> None:
    app = visit(PATH, folder, engine="small", part="quality")
    assert app.subheader[0].value == "Not measured yet"
    assert app.code[0].value == "governor engine quality small --reference ENGINE_OR_FOLDER --text FILE"
    assert len(app.dataframe) == 0


def test_a_server_that_cannot_be_judged_says_so(visit: Visit, folder: Path) -> None:
    far = {"name": "far", "kind": "attached", "server": "tgi", "model": "m", "base_url": "http://10.0.0.9/v1"}
    add_engine(database(folder), far, ANA)
    app = visit(PATH, folder, engine="far", part="quality")
    assert app.subheader[0].value == "Cannot be measured"
    assert len(app.code) == 0


def test_what_saved_memory_costs_stands_beside_what_it_brings(visit: Visit, folder: Path) -> None:
    keep(folder)
    sweep(folder, "small", 480.0, JUDGED.model)
    app = visit(PATH, folder, engine="small", part="quality")
    figures = {each.label: (each.value, each.delta.replace("\\", "")) for each in app.metric}
    assert figures == {
        "Perplexity": ("12.24", "1.020 × full precision"),
        "Agreement": ("94.2%", "8,160 tokens of novel.txt"),
        "Weights": ("4.00 GiB", "25.0% of full precision"),
        "Answer tokens/s": ("480", "TTFT p95 20 ms, 4 at once"),
    }
    table = app.dataframe[0].value.set_index("Engine")
    assert list(table.index) == ["chat", "small"]
    assert list(table["Weights"]) == ["bf16", "w4a16"]
    assert list(table["Memory"]) == ["16.00 GiB", "4.00 GiB"]
    assert list(table["× reference"]) == ["reference", "1.020"]
    assert list(table["Agreement"]) == ["—", "94.2%"]
    assert list(table["Tokens/s"]) == ["—", "480.0"]
    assert len(app.code) == 0


def test_the_reference_is_told_as_such_and_what_is_unknown_is_a_dash(visit: Visit, folder: Path) -> None:
    keep(folder, reference_precision=None, reference_weight_bytes=None)
    app = visit(PATH, folder, engine="chat", part="quality")
    figures = {each.label: (each.value, each.delta.replace("\\", "")) for each in app.metric}
    assert figures["Perplexity"] == ("12.00", "what others are compared with")
    assert figures["Weights"] == ("—", "not known")
    assert figures["Answer tokens/s"] == ("—", "not swept yet")


def test_loads_of_a_sweep_stand_beside_the_quality_of_what_was_swept(visit: Visit, folder: Path) -> None:
    sweep(folder, "small", 480.0, JUDGED.model)
    assert "Agreement" not in visit(PATH, folder, engine="small", part="sweeps").dataframe[0].value
    keep(folder)
    table = visit(PATH, folder, engine="small", part="sweeps").dataframe[0].value
    assert (list(table["× reference"]), list(table["Agreement"])) == (["1.020"], ["94.2%"])

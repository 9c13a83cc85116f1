"""Quality beside speed: the latest comparison of every variant, its reference, its best load."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.engine.stages import Slo, Spread, Stage
from backend.engine.sweep import Plan, results_of
from backend.engine.weights import Variant
from backend.reports.engine_quality import QualityLine, find_line, find_now, read_qualities, read_quality_lines
from backend.reports.engine_sweeps import read_sweeps
from backend.reports.ledger import Ledger
from backend.settings.knobs import EngineSpec
from db.engine import Engine, writing
from db.engine_qualities import insert_quality
from db.sweeps import SweepRow, insert_sweep
from tests.engine.judged import JUDGED
from tests.reports.ledgers import ledger_of

SMALL = EngineSpec(name="small", model=JUDGED.model)
CHAT = EngineSpec(name="chat", model=JUDGED.reference_model)
NEW = EngineSpec(name="new", model="models/new")
SPECS = (SMALL, CHAT, NEW)
SLOW = Spread(9_000.0, 9_000.0, 9_000.0)


@pytest.fixture
def ledger(sqlite: Engine, tmp_path: Path) -> Ledger:
    return ledger_of(sqlite, tmp_path)


def keep(database: Engine, **changes: Any) -> None:
    with writing(database) as connection:
        insert_quality(connection, replace(JUDGED, **changes))


def sweep(engine: Engine, name: str, loads: list[tuple[int, float, Spread]], variant: Variant | None = None) -> str:
    """A sweep that measured so many tokens a second at so many calls at once."""
    stages = [
        Stage(count, "256:64", 40, 0, 10.0, 4.0, 4.0 if ttft is not SLOW else 0.0, 1000.0, rate, ttft)
        for count, rate, ttft in loads
    ]
    results: dict[str, Any] = {**results_of(stages, Slo()), **({"variant": asdict(variant)} if variant else {})}
    row = SweepRow(f"{name}-{len(loads)}-{loads[0][1]}", name, "done", Plan((1,)).write(), "ann", "to know", 7, 1.0)
    with writing(engine) as connection:
        insert_sweep(connection, replace(row, results=orjson.dumps(results).decode()))
    return row.id


def line_of(ledger: Ledger, spec: EngineSpec) -> QualityLine:
    found = find_now(read_quality_lines(ledger, SPECS), spec)
    assert found is not None
    return found


def test_variants_follow_their_reference_and_engines_never_judged_come_last(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    keep(sqlite, id="q2", model="models/llama-w8a8", precision="w8a8", weight_bytes=8 * 2**30)
    lines = read_quality_lines(ledger, SPECS)
    assert [(line.engine, line.weights.precision) for line in lines] == [
        ("chat", "bf16"),
        ("small", "w8a8"),
        ("small", "w4a16"),
        ("new", None),
    ]
    assert [line.is_reference for line in lines] == [True, False, False, False]


def test_the_reference_has_a_perplexity_and_nothing_to_be_compared_with(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    small, chat, new = (line_of(ledger, spec) for spec in SPECS)
    assert (small.perplexity, small.agreement, small.weight_share) == (12.24, 0.942, 0.25)
    assert small.perplexity_ratio == pytest.approx(1.02)
    assert (chat.perplexity, chat.perplexity_ratio, chat.agreement, chat.weight_share) == (12.0, None, None, None)
    assert (new.perplexity, new.perplexity_ratio, new.agreement, new.weight_share) == (None, None, None, None)


def test_the_latest_comparison_of_a_variant_counts(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    keep(sqlite, id="q2", measured_at=JUDGED.measured_at + 1, agreement=0.5)
    keep(sqlite, id="q3", measured_at=JUDGED.measured_at - 1, agreement=0.1)
    assert line_of(ledger, SMALL).agreement == 0.5
    assert [row.id for row in read_qualities(ledger, "small")] == ["q2", "q1", "q3"]


def test_a_folder_nobody_serves_is_a_line_too(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite, reference_engine=None)
    [folder] = [line for line in read_quality_lines(ledger, SPECS) if line.is_reference]
    assert (folder.engine, folder.perplexity, folder.speed) == (None, 12.0, None)


def test_a_reference_that_was_judged_itself_stands_there_once(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    full = {"model": JUDGED.reference_model, "weight_bytes": JUDGED.reference_weight_bytes, "agreement": 0.999}
    keep(sqlite, id="q2", engine="chat", reference_engine=None, **full)
    assert line_of(ledger, CHAT).agreement == 0.999
    assert [line.engine for line in read_quality_lines(ledger, (SMALL, CHAT))] == [None, "chat", "small"]


def test_the_speed_is_that_of_the_best_sweet_spot(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    quick = Spread(9.0, 20.0, 30.0)
    sweep(sqlite, "small", [(1, 100.0, quick), (4, 400.0, quick), (8, 900.0, SLOW)])
    sweep(sqlite, "small", [(1, 90.0, quick), (2, 95.0, quick)])
    sweep(sqlite, "chat", [(8, 300.0, SLOW), (16, 350.0, SLOW)])
    small, chat = line_of(ledger, SMALL).speed, line_of(ledger, CHAT).speed
    assert small is not None
    assert chat is not None
    assert (small.tokens_per_s, small.ttft_p95_ms, small.concurrency, small.sweet) == (100.0, 20.0, 1, True)
    assert (chat.tokens_per_s, chat.ttft_p95_ms, chat.concurrency, chat.sweet) == (350.0, 9_000.0, 16, False)
    assert line_of(ledger, NEW).speed is None


def test_a_sweep_of_other_weights_says_nothing_of_these(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    quick = Spread(9.0, 20.0, 30.0)
    earlier = sweep(sqlite, "small", [(1, 900.0, quick)], Variant("models/llama"))
    marked = sweep(sqlite, "small", [(1, 100.0, quick)], Variant(JUDGED.model))
    speed = line_of(ledger, SMALL).speed
    assert speed is not None
    assert speed.tokens_per_s == 100.0
    lines = read_quality_lines(ledger, SPECS)
    found = {each.row.id: find_line(lines, each, SPECS) for each in read_sweeps(ledger)}
    assert found == {earlier: None, marked: line_of(ledger, SMALL)}


def test_a_sweep_that_answered_nothing_has_no_speed(sqlite: Engine, ledger: Ledger) -> None:
    keep(sqlite)
    sweep(sqlite, "small", [(1, 0.0, SLOW)])
    assert line_of(ledger, SMALL).speed is None

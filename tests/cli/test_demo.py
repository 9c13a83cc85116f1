"""Filling the demo's folder: through the spool and the drainer, once, and never into somebody's real ledger."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from backend.cli import demo
from backend.cli.demo_traffic import entries
from backend.cli.demo_visitors import draw_visit
from backend.cli.output import CommandFailed
from backend.environment import Environment
from backend.ledger.drainer import Drainer
from backend.ledger.ledger import Ledger
from backend.ledger.spool import Spool, worker_name
from backend.settings.knobs import LedgerSettings
from db.engine import connect_writer
from tests.cli.conftest import Governor
from tests.cli.governor_process import GovernorProcess

COUNT = 1500


@pytest.fixture
def filled(ready: Governor, data_dir: Path) -> Governor:
    demo.fill(Environment(data_dir=data_dir), COUNT)
    return ready


def totals(governor: Governor, *arguments: str) -> list[dict[str, Any]]:
    return governor("calls", "totals", *arguments, "--json").lines


def test_the_ledger_adds_up(filled: Governor) -> None:
    rows = filled("calls", "export", "--json").lines
    (sums,) = totals(filled)
    assert len(rows) == sums["calls"] == COUNT
    assert sums["open"] == 0
    for measure in ("cost_nusd", "saved_nusd", "prompt_tokens", "completion_tokens"):
        assert sums[measure] == sum(row[measure] or 0 for row in rows)
        assert sums[measure] == sum(each[measure] for each in totals(filled, "--by", "feature"))
    assert sums["unpriced"] == sum(row["cost_nusd"] is None for row in rows)


def test_the_change_in_the_middle_is_a_version_of_its_time(filled: Governor) -> None:
    lines = filled("settings", "history", "--json").lines
    assert [(line["version"], line["actor"]) for line in lines] == [(2, "demo"), (1, "demo")]
    by_version: dict[int, list[str]] = {}
    for row in filled("calls", "export", "--json").lines:
        by_version.setdefault(row["settings_version"], []).append(row["started_at"])
    assert max(by_version[1]) < lines[0]["created_at"] <= min(by_version[2])
    assert lines[1]["created_at"] <= min(by_version[1])


def test_a_second_start_adds_nothing_to_what_is_there(filled: Governor, data_dir: Path) -> None:
    demo.fill(Environment(data_dir=data_dir), COUNT)
    assert totals(filled)[0]["calls"] == COUNT


def test_nothing_is_left_in_the_spool(filled: Governor, data_dir: Path) -> None:
    assert not list((data_dir / "spool").glob("*.spool"))


def test_real_calls_are_never_mixed_with_made_up_ones(ready: Governor, data_dir: Path) -> None:
    environment = Environment(data_dir=data_dir)
    engine = connect_writer(environment.database)
    ledger = Ledger(Spool(environment.spool_dir, worker_name()), LedgerSettings)
    entry = next(entries(1, demo.SPAN_MS, 2 * demo.SPAN_MS))
    ledger.record(entry)
    ledger.close()
    Drainer(engine, environment.spool_dir, LedgerSettings).drain()
    engine.dispose()
    with pytest.raises(CommandFailed, match="GOVERNOR_DATA_DIR"):
        demo.fill(environment, COUNT)
    assert totals(ready)[0]["calls"] == 1


def test_visitors_are_marked_as_the_demo() -> None:
    rng = Random(1)
    visits = [draw_visit(rng) for _ in range(200)]
    assert {visit.headers["x-governor-feature"] for visit in visits} == {"demo"}
    assert {visit.path for visit in visits} == {"/v1/chat/completions", "/v1/embeddings"}
    assert any(visit.body.get("stream") for visit in visits)
    repeated = [str(visit.body) for visit in visits]
    assert len(set(repeated)) < len(repeated)


@pytest.mark.slow
def test_visitors_call_while_the_demo_runs(tmp_path: Path, governor: Governor) -> None:
    with GovernorProcess(tmp_path, "demo", "--calls", "300") as process:
        process.wait_for("live visitors now")
        assert process.children("visitors")
        while not (seen := governor("calls", "export", "--where", "feature=demo", "--json").lines):
            assert process.child.poll() is None, process.lines
        assert {line["provider"] for line in seen} == {"simulated"}
        assert process.stop() == 0
    assert len(governor("calls", "export", "--until", seen[-1]["started_at"], "--json").lines) >= 300

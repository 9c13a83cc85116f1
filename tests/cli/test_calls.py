"""Exports and totals: every column, every call, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from backend.call import Attempt, Entry
from backend.cli import calls as commands
from backend.environment import Environment
from backend.ledger.drainer import Drainer
from backend.ledger.ledger import Ledger
from backend.ledger.spool import Spool, worker_name
from backend.settings.knobs import LedgerSettings
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS
from db.engine import connect_writer
from tests.cli.conftest import Governor

AT = 1_795_220_900_126
Record = Callable[..., Entry]


@pytest.fixture
def record(ready: Governor, data_dir: Path) -> Record:
    """Puts one call into the ledger."""
    environment = Environment(data_dir=data_dir)

    def put(*, tries: int = 1, **columns: object) -> Entry:
        defaults = {"state": "settled", "status": "ok", "model": "m", "started_at": AT, "cost_nusd": 5}
        entry = Entry(worker_name(), "chat.completions", **{**defaults, **columns})  # type: ignore[arg-type]
        entry.tries = [
            Attempt(entry.id, number, entry.worker, f"d{number}", "simulated", "m", entry.started_at, "settled")
            for number in range(1, tries + 1)
        ]
        entry.attempts = tries
        ledger = Ledger(Spool(environment.spool_dir, entry.worker), LedgerSettings)
        ledger.record(entry)
        ledger.close()
        engine = connect_writer(environment.database)
        Drainer(engine, environment.spool_dir, LedgerSettings).drain()
        engine.dispose()
        return entry

    return put


def test_json_has_one_call_per_line_with_every_column(ready: Governor, record: Record) -> None:
    entry = record(tags={"team": "a"}, notes=["n"], usage={"prompt_tokens": 3})
    (line,) = ready("calls", "export", "--json").lines
    assert tuple(line) == CALL_COLUMNS
    assert line["id"] == entry.id
    assert line["started_at"] == "2026-11-21T00:28:20.126Z"
    assert (line["tags"], line["notes"], line["usage"]) == ({"team": "a"}, ["n"], {"prompt_tokens": 3})


def test_the_columns_are_those_of_an_entry() -> None:
    assert set(CALL_COLUMNS) <= {each.name for each in fields(Entry)}


def test_csv_has_a_header_and_no_formula(ready: Governor, record: Record) -> None:
    record(user="=1+1", feature="=cmd|' /C calc'!A0")
    rows = list(csv.DictReader(io.StringIO(ready("calls", "export").out)))
    assert [row["user"] for row in rows] == ["'=1+1"]
    assert rows[0]["feature"].startswith("'=")
    assert rows[0]["started_at"] == "2026-11-21T00:28:20.126Z"


def test_attempts_are_exported_in_their_order(ready: Governor, record: Record) -> None:
    first, second = record(tries=2), record(tries=1)
    lines = ready("calls", "export", "--attempts", "--json").lines
    assert [(line["call_id"], line["number"]) for line in lines] == [(first.id, 1), (first.id, 2), (second.id, 1)]
    assert tuple(lines[0]) == ATTEMPT_COLUMNS


def test_pages_follow_each_other_without_gap_or_repeat(
    ready: Governor, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [record(tries=2) for _ in range(5)]  # all at the same moment
    monkeypatch.setattr(commands, "ROWS_AT_ONCE", 2)
    assert sorted(line["id"] for line in ready("calls", "export", "--json").lines) == sorted(e.id for e in made)
    attempts = ready("calls", "export", "--attempts", "--json").lines
    assert len({(line["call_id"], line["number"]) for line in attempts}) == len(attempts) == 10


def test_conditions_narrow_what_is_exported(ready: Governor, record: Record) -> None:
    record(model="a", feature="x")
    record(model="b", feature="x")
    record(model="c", feature=None, started_at=AT + 60_000)

    def models(*arguments: str) -> set[str]:
        return {line["model"] for line in ready("calls", "export", *arguments, "--json").lines}

    assert models("--where", "model=a", "--where", "model=b") == {"a", "b"}
    assert models("--where", "model=a", "--where", "feature=y") == set()
    assert models("--where", "feature=") == {"c"}
    assert models("--since", "2026-11-21T00:29Z") == {"c"}
    assert models("--until", "2026-11-21T00:29Z") == {"a", "b"}
    attempts = ready("calls", "export", "--attempts", "--where", "model=a", "--json").lines
    assert len(attempts) == 1


@pytest.mark.parametrize("condition", ["model", "cost_nusd=5", "nothing=1"])
def test_an_unknown_condition_is_refused(ready: Governor, condition: str) -> None:
    assert ready("calls", "export", "--where", condition).code == 2


def test_totals_keep_the_unknown_apart_from_zero(ready: Governor, record: Record) -> None:
    record(cost_nusd=7)
    record(cost_nusd=None)
    record(cost_nusd=0, model="free")
    (sums,) = ready("calls", "totals", "--json").lines
    assert (sums["calls"], sums["cost_nusd"], sums["unpriced"]) == (3, 7, 1)
    by_model = ready("calls", "totals", "--by", "model", "--json").lines
    assert {(line["model"], line["calls"]) for line in by_model} == {("m", 2), ("free", 1)}
    assert "$0.000000007" in ready("calls", "totals").out
    assert ready("calls", "totals", "--by", "colour").code == 2

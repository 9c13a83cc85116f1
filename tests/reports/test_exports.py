from __future__ import annotations

import csv
import json
import tracemalloc
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from backend.reports import exports
from backend.reports.calls import CallQuery
from backend.reports.exports import export_csv, export_json, export_rows, safe_cell
from backend.reports.filters import make_scope
from backend.reports.ledger import Ledger
from db.call_reads import ALL_COLUMNS
from tests.fabricate import Plan, fabricate
from tests.reports.ledgers import DAY_MS, END_AT, Row, ledger_of, random_rows, write_calls

EVERYTHING = CallQuery(make_scope(END_AT - 41 * DAY_MS, END_AT))


@pytest.mark.parametrize("at_once", [7, 100, 700, 1000])
def test_every_call_is_exported_once_newest_first(
    ledger: Ledger, rows: list[Row], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", at_once)
    found = list(export_rows(ledger, EVERYTHING))
    assert [row["id"] for row in found] == [
        row["id"] for row in sorted(rows, key=lambda row: (row["started_at"], row["id"]), reverse=True)
    ]
    by_id = {row["id"]: row for row in rows}
    assert all(row == by_id[row["id"]] for row in found)


def test_the_filter_of_the_page_is_the_filter_of_the_export(ledger: Ledger, rows: list[Row]) -> None:
    query = CallQuery(EVERYTHING.scope.narrowed("user", "ann"), min_cost_nusd=1)
    wanted = {row["id"] for row in rows if row["user"] == "ann" and (row["cost_nusd"] or 0) >= 1}
    assert {row["id"] for row in export_rows(ledger, query)} == wanted


def test_a_line_of_json_reads_back_as_the_call(ledger: Ledger, rows: list[Row]) -> None:
    lines = [json.loads(line) for line in export_json(ledger, EVERYTHING)]
    by_id = {row["id"]: row for row in rows}
    assert len(lines) == len(rows)
    for line in lines[:50]:
        row = by_id[line["id"]]
        assert list(line) == ALL_COLUMNS
        assert line["cost_nusd"] == row["cost_nusd"]
        assert line["tags"] == json.loads(row["tags"])


def test_csv_reads_back_with_a_header(ledger: Ledger, rows: list[Row]) -> None:
    lines = list(csv.DictReader(StringIO("".join(export_csv(ledger, EVERYTHING)))))
    assert len(lines) == len(rows)
    total = sum(int(line["cost_nusd"]) for line in lines if line["cost_nusd"])
    assert total == sum(row["cost_nusd"] or 0 for row in rows)
    assert {line["cost_nusd"] for line in lines if line["id"] in {r["id"] for r in rows if r["cost_nusd"] is None}} == {
        ""
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_caller_can_plant_a_formula(sqlite: Engine, small: Ledger, start: str) -> None:
    row = random_rows(1)[0] | {"user": f'{start}HYPERLINK("http://x","y")', "feature": f'a{start}b\n,"c'}
    write_calls(sqlite, [row])
    (line,) = csv.DictReader(StringIO("".join(export_csv(small, EVERYTHING)), newline=""))
    assert line["user"] == f"'{row['user']}"
    assert line["feature"] == row["feature"]


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans())
def test_a_safe_cell_never_starts_a_formula(value: object) -> None:
    safe = safe_cell(value)
    assert not (isinstance(safe, str) and safe[:1] in tuple("=+-@\t\r"))
    assert safe == (value if not isinstance(value, str) or value == safe else f"'{value}")


def test_an_export_needs_no_more_memory_for_more_calls(sqlite: Engine, tmp_path: Path) -> None:
    plan = Plan(6_000, days=2, end_at=END_AT - END_AT % DAY_MS)
    fabricate(sqlite, plan)
    ledger = ledger_of(sqlite, tmp_path)
    query = CallQuery(make_scope(plan.start_at, plan.end_at))
    peaks = []
    for wanted in (2_000, 6_000):
        tracemalloc.start()
        for count, _ in enumerate(export_csv(ledger, query), 1):
            if count == wanted:
                break
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert count == 6_000
    assert peaks[1] < peaks[0] * 1.3


def test_an_empty_ledger_exports_a_header(empty: Ledger) -> None:
    assert "".join(export_csv(empty, EVERYTHING)).strip().split(",") == ALL_COLUMNS
    assert list(export_json(empty, EVERYTHING)) == []

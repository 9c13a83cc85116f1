"""Exports of calls: every row that matches, in constant memory, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from backend.reports.calls import CallQuery
from backend.reports.ledger import Ledger
from db.call_reads import ALL_COLUMNS, PageRequest, Position, read_page

ROWS_AT_ONCE = 1000
JSON_COLUMNS = ("tags", "usage", "candidates", "notes")
"""Columns that hold JSON as text."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def export_rows(ledger: Ledger, query: CallQuery) -> Iterator[dict[str, Any]]:
    """Every matching call with every column, newest first; each read is short, so writers are never held up."""
    after: Position | None = None
    with ledger.read() as connection:
        window = query.window(connection)
    while True:
        with ledger.read() as connection:
            rows = read_page(connection, window, PageRequest(ROWS_AT_ONCE, after, ALL_COLUMNS))
        yield from (dict(row) for row in rows)
        if len(rows) < ROWS_AT_ONCE:
            return
        after = Position(rows[-1]["started_at"], rows[-1]["id"])


def export_csv(ledger: Ledger, query: CallQuery) -> Iterator[str]:
    """The same as lines of CSV with a header; cells that a spreadsheet would run are quoted with ``'``."""
    yield _csv_line(ALL_COLUMNS)
    for row in export_rows(ledger, query):
        yield _csv_line([safe_cell(row[name]) for name in ALL_COLUMNS])


def export_json(ledger: Ledger, query: CallQuery) -> Iterator[str]:
    """The same as one JSON object per line; columns that hold JSON are objects, not text."""
    for row in export_rows(ledger, query):
        yield json.dumps({name: _parsed(name, value) for name, value in row.items()}, ensure_ascii=False) + "\n"


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; only text can be one, numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _parsed(name: str, value: Any) -> Any:
    return json.loads(value) if name in JSON_COLUMNS and isinstance(value, str) else value


def _csv_line(cells: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

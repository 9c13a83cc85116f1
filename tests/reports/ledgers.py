"""Small random ledgers with everything that can be unknown, and an independent sum over their rows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert

from backend.ledger.tally import Tally
from backend.reports.ledger import Ledger
from db.bounded import Database
from db.columns import CALL_COLUMNS
from db.engine import writing
from db.rollups import add_to_rollups
from db.tables import MEASURES, calls
from db.windows import Window
from tests.fabricated_calls import fabricate_call

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
END_AT = 20_700 * DAY_MS + 9 * HOUR_MS + 1_234_567
"""An odd moment: neither an hour's nor a day's border."""

Row = dict[str, Any]


def random_rows(count: int, *, days: float = 40, seed: int = 1, end_at: int = END_AT) -> list[Row]:
    """Closed calls in random order, some without model, price, user or times."""
    chance = random.Random(seed)
    return [_row(chance, number, (days, end_at)) for number in range(count)]


def _row(chance: random.Random, number: int, span: tuple[float, int]) -> Row:
    days, end_at = span
    row = fabricate_call(chance, 6)
    at = end_at - 1 - int(chance.random() ** 2 * days * DAY_MS)
    row |= {"id": f"{at:012x}-{number:06d}", "started_at": at, "user": chance.choice([None, "ann", "bob", "cy"])}
    row |= {"session_id": f"s-{number // 3}", "trace_id": f"t-{number}", "rule": chance.choice(["default", "long"])}
    for name in ("feature", "key_id", "provider", "deployment", "cost_nusd", "saved_nusd", "ttft_ms"):
        if chance.random() < 0.08:
            row[name] = None
    if chance.random() < 0.03:
        row |= {"state": "open", "status": None, "cost_nusd": None, "latency_ms": None}
    return row


def write_calls(engine: Engine, rows: Iterable[Row]) -> None:
    """Insert calls and add the closed ones to the rollups, as the drainer does."""
    tally = Tally()
    chosen = list(rows)
    for row in chosen:
        if row["state"] != "open":
            tally.add(tuple(row[name] for name in CALL_COLUMNS))
    with writing(engine) as connection:
        if chosen:
            connection.execute(insert(calls), chosen)
            add_to_rollups(connection, tally.sums())


def ledger_of(engine: Engine, folder: Path, rows: Iterable[Row] = ()) -> Ledger:
    """A ledger that holds these calls."""
    write_calls(engine, rows)
    return Ledger(Database(engine, 20_000), folder)


def matching(rows: Iterable[Row], window: Window) -> list[Row]:
    """The closed calls of a window, chosen one by one in Python."""
    return [row for row in rows if row["state"] != "open" and _is_in(row, window)]


def _is_in(row: Row, window: Window) -> bool:
    within = window.start_at <= row["started_at"] < window.end_at
    return within and all((row[name] or "") in values for name, values in window.filters.items())


def measures_of(rows: Iterable[Row]) -> dict[str, int]:
    """The sums that a reading of these calls must give."""
    sums = dict.fromkeys(MEASURES, 0)
    for row in rows:
        for name in MEASURES:
            sums[name] += _COUNTED[name](row) if name in _COUNTED else row[name] or 0
    return sums


_COUNTED: Mapping[str, Callable[[Row], bool]] = {
    "calls": lambda _: True,
    "failed": lambda row: row["status"] == "failed",
    "refused": lambda row: row["status"] == "refused",
    "cancelled": lambda row: row["status"] == "cancelled",
    "unpriced": lambda row: row["cost_nusd"] is None,
    "estimated": lambda row: row["state"] == "estimated",
    "cache_hits": lambda row: row["cache_kind"] in ("exact", "semantic"),
    "cache_lookups": lambda row: row["cache_kind"] in ("exact", "semantic", "miss", "coalesced"),
}


def quantile_of(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]

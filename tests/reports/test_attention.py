from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from backend.reports.attention import read_attention
from backend.reports.filters import preset_scope
from backend.reports.ledger import Ledger
from db.engine import writing
from db.quarantine import quarantine_records
from tests.reports.ledgers import DAY_MS, END_AT, Row, random_rows, write_calls

DAY = preset_scope("24h", now_at=END_AT)


def calls(count: int, **values: Any) -> list[Row]:
    rows = random_rows(count, days=0.5, seed=count)
    for number, row in enumerate(rows):
        row |= {"state": "settled", "status": "ok", "cost_nusd": 5, "provider": "openai", "model": "m"}
        row |= {"id": f"{values}-{number}"[-36:], **values}
    return rows


def test_a_quiet_ledger_needs_nothing(sqlite: Engine, small: Ledger) -> None:
    write_calls(sqlite, calls(20))
    assert read_attention(small, DAY, END_AT) == ()


def test_unpriced_calls_lead_to_their_model(sqlite: Engine, small: Ledger) -> None:
    write_calls(sqlite, calls(3, model="house", cost_nusd=None))
    write_calls(sqlite, calls(4, model=None, cost_nusd=None))
    unknown, house = read_attention(small, DAY, END_AT)
    assert (house.kind, house.filters) == ("unpriced", {"model": ("house",)})
    assert "3 unpriced calls of house" in house.title
    assert unknown.filters == {"model": ("",)}


def test_a_failing_deployment_leads_to_its_failures(sqlite: Engine, small: Ledger) -> None:
    write_calls(sqlite, calls(90, deployment="good"))
    write_calls(sqlite, [*calls(40, deployment="bad"), *calls(10, deployment="bad", status="failed")])
    write_calls(sqlite, [*calls(60, deployment="few"), *calls(4, deployment="few", status="failed")])
    (found,) = read_attention(small, DAY, END_AT)
    assert (found.kind, found.severity) == ("errors", "high")
    assert found.filters == {"deployment": ("bad",), "status": ("failed",)}
    assert "20.0%" in found.title


def test_old_trouble_is_out_of_the_range(sqlite: Engine, small: Ledger) -> None:
    rows = calls(3, cost_nusd=None)
    for row in rows:
        row["started_at"] -= 3 * DAY_MS
    write_calls(sqlite, rows)
    assert read_attention(small, DAY, END_AT) == ()


def test_records_set_aside_come_before_the_hint_of_simulation(sqlite: Engine, small: Ledger) -> None:
    write_calls(sqlite, calls(5, provider="simulated"))
    with writing(sqlite) as connection:
        quarantine_records(connection, [("segment", 1, b"?", "unreadable")])
    assert [each.kind for each in read_attention(small, DAY, END_AT)] == ["quarantine", "simulated"]

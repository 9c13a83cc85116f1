from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from backend.ledger.segments import segment_name
from backend.ledger.status import DrainerStatus, write_status
from backend.reports.ledger import Ledger
from backend.reports.status import SPOOL, read_freshness
from tests.reports.ledgers import END_AT, Row, random_rows, write_calls


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / SPOOL
    folder.mkdir()
    return folder


def test_an_empty_ledger_is_up_to_date(empty: Ledger) -> None:
    fresh = read_freshness(empty, END_AT)
    assert (fresh.last_call_at, fresh.spool_bytes, fresh.lag_ms, fresh.quarantined) == (None, 0, 0, 0)
    assert not fresh.simulated_only
    assert fresh.drainer_error is None


def test_the_newest_call_dates_the_numbers(ledger: Ledger, rows: list[Row]) -> None:
    assert read_freshness(ledger, END_AT).last_call_at == max(row["started_at"] for row in rows)


def test_what_waits_is_measured_beyond_what_was_moved(small: Ledger, spool: Path) -> None:
    name = segment_name("worker", 1)
    (spool / name).write_bytes(b"x" * 1000)
    write_status(spool, DrainerStatus(at=END_AT - 2_000, lag_s=3.0, positions={name: 900}))
    fresh = read_freshness(small, END_AT)
    assert (fresh.spool_bytes, fresh.lag_ms) == (100, 5_000)


def test_a_drained_spool_has_no_lag_however_long_ago(small: Ledger, spool: Path) -> None:
    name = segment_name("worker", 1)
    (spool / name).write_bytes(b"x" * 1000)
    write_status(spool, DrainerStatus(at=END_AT - 9_000_000, positions={name: 1000}))
    fresh = read_freshness(small, END_AT)
    assert (fresh.spool_bytes, fresh.lag_ms, fresh.drainer_error) == (0, 0, None)


def test_the_reason_of_a_standstill_is_passed_on(small: Ledger, spool: Path) -> None:
    (spool / segment_name("worker", 1)).write_bytes(b"x")
    assert read_freshness(small, END_AT).drainer_error == "The drainer has not started yet."
    write_status(spool, DrainerStatus(at=END_AT, error="the database is away"))
    assert read_freshness(small, END_AT).drainer_error == "the database is away"


@pytest.mark.parametrize(
    ("providers", "simulated"),
    [(["simulated"], True), (["simulated", None], True), (["simulated", "openai"], False), ([None], False)],
)
def test_numbers_that_are_all_simulated_say_so(
    sqlite: Engine, small: Ledger, providers: list[str | None], simulated: bool
) -> None:
    rows = random_rows(len(providers), days=0.5)
    for row, provider in zip(rows, providers, strict=True):
        row.update(provider=provider, state="settled", status="ok")
    write_calls(sqlite, rows)
    assert read_freshness(small, END_AT).simulated_only == simulated

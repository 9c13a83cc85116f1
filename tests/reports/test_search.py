from __future__ import annotations

from itertools import pairwise

import pytest

from backend.reports import search
from backend.reports.ledger import Ledger
from backend.reports.search import Patience, stretches
from db.windows import Narrowing, Window
from tests.reports.ledgers import DAY_MS, END_AT, HOUR_MS, Row

START_AT = END_AT - 41 * DAY_MS


@pytest.mark.parametrize("at_once", [0, 20, 10_000])
@pytest.mark.parametrize(
    "filters",
    [
        {"status": ("failed",)},
        {"user": ("ann",), "model": ("gpt-4o",)},
        {"rule": ("long",), "key_id": ("key-0", "")},
        {"rule": ("long",)},
        {"status": ("",)},
    ],
)
def test_stretches_hold_every_call_that_can_match_newest_first(
    ledger: Ledger,
    rows: list[Row],
    filters: dict[str, tuple[str, ...]],
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "_AT_ONCE", at_once)
    window = Window(START_AT + 1, END_AT - 1, filters)
    with ledger.read() as connection:
        found = list(stretches(connection, window))
    for newer, older in pairwise(found):
        assert window.start_at <= older.start_at < older.end_at <= newer.start_at < newer.end_at <= window.end_at
    for row in rows:
        matches = all((row[name] or "") in values for name, values in filters.items())
        if matches and window.start_at <= row["started_at"] < window.end_at:
            assert any(part.start_at <= row["started_at"] < part.end_at for part in found)


def test_hours_without_a_matching_call_are_skipped(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_AT_ONCE", 0)
    with ledger.read() as connection:
        found = list(stretches(connection, Window(START_AT, END_AT, {"status": ("refused",)})))
    assert all(part.end_at - part.start_at <= HOUR_MS for part in found)
    assert len(found) < 20


def test_without_filters_the_window_is_one_stretch(ledger: Ledger) -> None:
    window = Window(START_AT, END_AT)
    with ledger.read() as connection:
        assert list(stretches(connection, window)) == [window]


def test_a_search_by_text_widens_until_it_has_covered_the_window(ledger: Ledger) -> None:
    window = Window(START_AT, END_AT, narrowing=Narrowing(text="t-5"))
    with ledger.read() as connection:
        found = list(stretches(connection, window))
    assert found[0].end_at - found[0].start_at == HOUR_MS
    assert [part.start_at for part in found[:-1]] == [part.end_at for part in found[1:]]
    assert (found[0].end_at, found[-1].start_at) == (END_AT, START_AT)


def test_patience_ends() -> None:
    assert Patience(limit_ms=0).over
    assert not Patience(limit_ms=60_000).over

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from backend.reports import search
from backend.reports.calls import CallQuery, count_matching, parse_position, read_calls, read_strip
from backend.reports.filters import Scope, make_scope
from backend.reports.ledger import Ledger
from backend.reports.percentiles import percentiles_of
from tests.reports.ledgers import DAY_MS, END_AT, HOUR_MS, Row, ledger_of, matching, random_rows, write_calls

EVERYTHING = make_scope(END_AT - 41 * DAY_MS, END_AT)


def newest_first(rows: list[Row]) -> list[str]:
    return [row["id"] for row in sorted(rows, key=lambda row: (row["started_at"], row["id"]), reverse=True)]


def walk(ledger: Ledger, query: CallQuery, limit: int = 37) -> list[str]:
    """Every id, page by page."""
    ids: list[str] = []
    after = None
    while True:
        page = read_calls(ledger, query, after, limit)
        ids += page.frame["id"].tolist()
        after = page.next
        if after is None:
            return ids


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"status": ("failed", "refused")},
        {"model": ("gpt-4o",), "environment": ("production",)},
        {"user": ("ann",)},
        {"user": ("",), "feature": ("search", "")},
        {"rule": ("long",), "cache_kind": ("exact",)},
        {"status": ("",)},
        {"model": ("nobody",)},
    ],
)
def test_pages_show_every_matching_call_once(
    ledger: Ledger, rows: list[Row], filters: dict[str, tuple[str, ...]]
) -> None:
    scope = Scope(EVERYTHING.start_at, EVERYTHING.end_at, filters)
    wanted = [row for row in rows if all((row[name] or "") in values for name, values in filters.items())]
    assert walk(ledger, CallQuery(scope)) == newest_first(wanted)
    count = count_matching(ledger, CallQuery(scope))
    assert (count.calls, count.exact) == (len(wanted), True)


def test_calls_that_arrive_while_paging_are_neither_repeated_nor_hide_others(
    engine: Engine, tmp_path: Path, rows: list[Row]
) -> None:
    ledger, late = ledger_of(engine, tmp_path, rows[:300]), iter(rows[300:])
    query, shown, after = CallQuery(EVERYTHING), list[str](), None
    while True:
        page = read_calls(ledger, query, after, 20)
        shown += page.frame["id"].tolist()
        write_calls(engine, [next(late) for _ in range(10)])  # anywhere in the range: newer, older, between
        if page.next is None:
            break
        after = page.next
    assert len(shown) == len(set(shown))
    assert {row["id"] for row in rows[:300]} <= set(shown)


def test_calls_of_one_millisecond_are_split_between_pages(engine: Engine, tmp_path: Path) -> None:
    rows = random_rows(50)
    for row in rows:
        row["started_at"] = END_AT - 5
    assert walk(ledger_of(engine, tmp_path, rows), CallQuery(EVERYTHING), 7) == newest_first(rows)


def test_a_page_has_at_most_200_calls(ledger: Ledger) -> None:
    page = read_calls(ledger, CallQuery(EVERYTHING), limit=10_000)
    assert len(page.frame) == 200
    assert page.next is not None


@pytest.mark.parametrize("column", ["session_id", "trace_id", "id"])
def test_calls_are_found_by_any_of_their_ids(ledger: Ledger, rows: list[Row], column: str) -> None:
    wanted = rows[123][column]
    found = walk(ledger, CallQuery(EVERYTHING, text=f" {wanted} "))
    assert found == newest_first([row for row in rows if row[column] == wanted])


def test_calls_are_found_by_the_beginning_of_their_id(ledger: Ledger, rows: list[Row]) -> None:
    beginning = rows[7]["id"][:9]
    found = walk(ledger, CallQuery(EVERYTHING, text=beginning.upper()))
    assert found == newest_first([row for row in rows if row["id"].startswith(beginning)])


def test_the_calls_of_a_batch_job_are_found_by_its_id(engine: Engine, tmp_path: Path) -> None:
    made_at, rows = END_AT - 20 * DAY_MS, random_rows(30)
    job_id = f"batch_{made_at:012x}{'a1' * 10}"
    for hours, row in enumerate(rows[:4]):
        row["started_at"] = made_at + hours * HOUR_MS
        row["tags"] = f'{{"team":"x","batch":"{job_id}"}}'
    rows[3]["tags"] = f'{{"caller_batch":"{job_id}"}}'
    rows[4]["tags"] = f'{{"batch":"batch_{"b2" * 16}"}}'
    ledger, query = ledger_of(engine, tmp_path, rows), CallQuery(EVERYTHING, text=job_id)
    assert walk(ledger, query) == newest_first(rows[:4])
    assert read_strip(ledger, query)["calls"].sum() == len([row for row in rows[:4] if row["state"] != "open"])


@pytest.mark.parametrize(
    ("made_at", "hours"), [(END_AT - 20 * DAY_MS, 26), (END_AT + DAY_MS, 0), (0, 0), (2**48 - 1, 0)]
)
def test_a_batch_jobs_calls_are_only_looked_for_in_the_day_it_had(ledger: Ledger, made_at: int, hours: int) -> None:
    query = CallQuery(EVERYTHING, text=f"batch_{made_at:012x}{'a1' * 10}")
    with ledger.read() as connection:
        window = query.window(connection)
    assert window.end_at - window.start_at == hours * HOUR_MS
    assert (walk(ledger, query), count_matching(ledger, query).calls, read_strip(ledger, query)["calls"].sum()) == (
        [],
        0,
        0,
    )


@pytest.mark.parametrize("text", ["%", "_", "' OR 1=1 --", "\N{GRINNING FACE}" * 10])
def test_odd_texts_find_nothing(ledger: Ledger, text: str) -> None:
    query = CallQuery(EVERYTHING, text=text)
    assert walk(ledger, query) == []
    assert count_matching(ledger, query).calls == 0
    assert read_strip(ledger, query)["calls"].sum() == 0


def test_error_codes_costs_and_latencies_narrow(ledger: Ledger, rows: list[Row]) -> None:
    query = CallQuery(EVERYTHING, error_codes=("upstream_timeout",), min_latency_ms=1_000)
    wanted = [row for row in rows if row["error_code"] == "upstream_timeout" and (row["latency_ms"] or 0) >= 1_000]
    assert walk(ledger, query) == newest_first(wanted)
    query = CallQuery(EVERYTHING, min_cost_nusd=2_000_000)
    assert walk(ledger, query) == newest_first([row for row in rows if (row["cost_nusd"] or 0) >= 2_000_000])


def test_a_search_that_takes_too_long_says_how_far_it_came(
    ledger: Ledger, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.Patience, "over", True)
    scope = make_scope(END_AT - 30 * HOUR_MS, END_AT)
    wanted = newest_first(matching(rows, scope.window))[-1]
    trace_id = next(row["trace_id"] for row in rows if row["id"] == wanted)
    query = CallQuery(scope, text=trace_id)
    page = read_calls(ledger, query)
    assert page.searched_to_at == scope.end_at - HOUR_MS
    assert page.next is not None
    assert walk(ledger, query) == [wanted]
    assert not count_matching(ledger, query).exact


def test_a_large_count_is_a_bound(ledger: Ledger, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.reports.calls.COUNTED_UP_TO", 100)
    by_call = CallQuery(EVERYTHING, min_latency_ms=0)
    assert str(count_matching(ledger, by_call)) == "100+"
    assert count_matching(ledger, CallQuery(EVERYTHING)).calls == len(rows)


def test_the_strip_sums_the_very_calls_listed(ledger: Ledger, rows: list[Row]) -> None:
    scope = make_scope(END_AT - 6 * DAY_MS, END_AT, {"environment": ("production",)})
    strip, wanted = read_strip(ledger, CallQuery(scope)), matching(rows, scope.window)
    assert strip["at"].tolist() == list(scope.buckets)
    assert strip["calls"].sum() == len(wanted)
    assert strip["cost_nusd"].sum() == sum(row["cost_nusd"] or 0 for row in wanted)
    assert strip["unpriced"].sum() == sum(row["cost_nusd"] is None for row in wanted)


def test_the_strip_has_the_latency_of_each_bucket(ledger: Ledger, rows: list[Row]) -> None:
    scope = make_scope(END_AT - 3 * DAY_MS, END_AT)
    strip = read_strip(ledger, CallQuery(scope)).set_index("at")["p95_ms"]
    for at in scope.buckets:
        hour = [row for row in matching(rows, scope.window) if at <= row["started_at"] < at + HOUR_MS]
        known = [row["latency_ms"] for row in hour if row["latency_ms"] is not None]
        if known:
            assert strip[at] == pytest.approx(sorted(known)[-(-95 * len(known) // 100) - 1], rel=0.021)
        else:
            assert strip.isna()[at]
    assert percentiles_of({}).p95 is None


def test_unknown_numbers_stay_unknown_in_the_list(ledger: Ledger, rows: list[Row]) -> None:
    frame = read_calls(ledger, CallQuery(EVERYTHING), limit=200).frame.set_index("id")
    for row in rows:
        if row["id"] in frame.index:
            assert frame["cost_nusd"].isna()[row["id"]] == (row["cost_nusd"] is None)


@pytest.mark.parametrize("text", ["x", "12", "-1.a", "9" * 30 + ".a", "1.5.", " "])
def test_a_bad_position_is_refused_or_reads_nothing_wrong(text: str) -> None:
    if text in ("12", "1.5."):
        assert parse_position(text) is not None
    else:
        with pytest.raises(ValueError, match="position"):
            parse_position(text)


def test_an_empty_ledger_has_an_empty_page(empty: Ledger) -> None:
    page = read_calls(empty, CallQuery(EVERYTHING))
    assert (len(page.frame), page.next, page.searched_to_at) == (0, None, None)
    assert str(count_matching(empty, CallQuery(EVERYTHING))) == "0"
    assert read_strip(empty, CallQuery(EVERYTHING))["calls"].sum() == 0

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from backend.pricing.prices import row_of
from backend.reports.call_detail import CallDetail, read_call_detail
from backend.reports.ledger import Ledger
from db.engine import writing
from db.prices import add_price
from db.settings import SettingsRow, insert_version
from db.tables import attempts, keys, payloads
from tests.reports.ledgers import END_AT, Row, random_rows, write_calls

RATES = {"standard": [{"input": 150_000_000, "cache_read": 75_000_000, "output": 600_000_000}], "per_call": 3}
PRICE = row_of("gpt-4o-mini", "openai", RATES)
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 11,
    "total_tokens": 111,
    "prompt_tokens_details": {"cached_tokens": 40},
}
COST = 60 * 150 + 40 * 75 + 11 * 600 + 3


def a_call(**values: Any) -> Row:
    row = random_rows(1, seed=11)[0]
    row |= {"id": "0190-call", "state": "settled", "status": "ok", "usage_source": "provider", "cache_kind": "miss"}
    row |= {"usage": json.dumps(USAGE), "prompt_tokens": 100, "cached_tokens": 40, "completion_tokens": 11}
    row |= {"price_id": PRICE.id, "cost_nusd": COST, "attempts": 1, "error_code": None, "http_status": 200}
    row |= {"overhead_ms": 0.4, "queue_ms": 0.0, "ttft_ms": 210.0, "latency_ms": 900.0, "notes": None}
    return row | values


def an_attempt(number: int = 1, **values: Any) -> Row:
    row = {"call_id": "0190-call", "number": number, "state": "settled", "worker": "w", "deployment": f"d{number}"}
    row |= {"provider": "openai", "model": "gpt-4o-mini", "started_at": END_AT, "ttft_ms": 200.0, "latency_ms": 880.0}
    row |= {"http_status": 200, "error_code": None, "upstream_id": "up-1", "price_id": PRICE.id}
    return row | {"reserved_nusd": None, "cost_nusd": COST} | values


def read(engine: Engine, ledger: Ledger, call: Row, *tries: Row) -> CallDetail:
    write_calls(engine, [call])
    with writing(engine) as connection:
        add_price(connection, PRICE)
        if tries:
            connection.execute(insert(attempts), list(tries))
    found = read_call_detail(ledger, call["id"])
    assert found is not None
    return found


def stages(detail: CallDetail) -> list[tuple[str, str]]:
    return [(step.stage, step.outcome) for step in detail.trace]


def test_the_cost_is_explained_to_the_nano_dollar(sqlite: Engine, small: Ledger) -> None:
    cost = read(sqlite, small, a_call(), an_attempt()).cost
    assert [(part.bucket, part.tokens, part.rate_nusd_per_mtok) for part in cost.parts] == [
        ("input", 60, 150_000_000),
        ("cache_read", 40, 75_000_000),
        ("output", 11, 600_000_000),
    ]
    assert (
        sum((part.nusd or Fraction(0) for part in cost.parts), Fraction(cost.per_call_nusd)) == COST == cost.total_nusd
    )
    assert cost.explained
    assert cost.price is not None
    assert cost.price.model == "gpt-4o-mini"


def test_a_cost_the_price_does_not_give_is_said_so(sqlite: Engine, small: Ledger) -> None:
    cost = read(sqlite, small, a_call(cost_nusd=COST + 1), an_attempt()).cost
    assert (cost.total_nusd, cost.explained) == (COST + 1, False)


def test_an_unknown_cost_stays_unknown(sqlite: Engine, small: Ledger) -> None:
    cost = read(sqlite, small, a_call(cost_nusd=None, price_id=None), an_attempt(cost_nusd=None)).cost
    assert (cost.total_nusd, cost.parts, cost.price) == (None, (), None)
    assert "price_missing" in cost.notes


def test_an_estimate_is_priced_by_the_counts_in_the_row(sqlite: Engine, small: Ledger) -> None:
    call = a_call(usage=None, usage_source="estimated", cached_tokens=None, cost_nusd=100 * 150 + 11 * 600 + 3)
    cost = read(sqlite, small, call, an_attempt()).cost
    assert cost.explained
    assert [part.bucket for part in cost.parts] == ["input", "output"]


def test_a_hit_costs_nothing_and_names_its_source(sqlite: Engine, small: Ledger) -> None:
    write_calls(sqlite, [a_call(id="0190-source")])
    call = a_call(cache_kind="exact", cost_nusd=0, attempts=0, source_call_id="0190-source", price_id=None)
    detail = read(sqlite, small, call)
    assert (detail.cost.total_nusd, detail.cost.explained, detail.cost.parts) == (0, True, ())
    assert detail.source is not None
    assert detail.source["id"] == "0190-source"
    assert ("cache", "done") in stages(detail)


def test_the_trace_tells_the_story_in_order(sqlite: Engine, small: Ledger) -> None:
    failed = an_attempt(1, state="failed", error_code="upstream_timeout", http_status=504, cost_nusd=0)
    call = a_call(rule="default", route_reason="the cheapest", notes=json.dumps(["compressor stepped aside"]))
    detail = read(sqlite, small, call, failed, an_attempt(2))
    assert stages(detail) == [
        ("auth", "done"),
        ("cache", "done"),
        ("routing", "done"),
        ("upstream", "failed"),
        ("upstream", "done"),
        ("notes", "done"),
        ("ledger", "done"),
    ]
    text = " ".join(step.title + " " + step.detail for step in detail.trace)
    for said in ("the cheapest", "upstream_timeout", "HTTP 504", "d2", "compressor stepped aside", "Settled"):
        assert said in text


def test_the_cache_step_tells_scores_and_reason(sqlite: Engine, small: Ledger) -> None:
    notes = ["cache: p 0.993; 900 labels: served from 0.9820; partition 0f0f", "compressor stepped aside"]
    scores = {"similarity": 0.95, "cache_probability": 0.993, "similarity_threshold": 0.982, "source_call_id": "0190-x"}
    call = a_call(cache_kind="semantic", cost_nusd=0, attempts=0, notes=json.dumps(notes), **scores)
    trace = read(sqlite, small, call).trace
    (step,) = (each for each in trace if each.stage == "cache")
    assert step.detail == (
        "similarity 0.9500, probability 0.9930, threshold 0.9820, answer of 0190-x, "
        "p 0.993; 900 labels: served from 0.9820; partition 0f0f"
    )
    assert [each.title for each in trace if each.stage == "notes"] == ["compressor stepped aside"]


def test_the_question_nearest_to_a_miss_is_not_called_its_answer(sqlite: Engine, small: Ledger) -> None:
    call = a_call(similarity=0.8, cache_probability=0.0, source_call_id="0190-x", notes=json.dumps(["cache: gate: no"]))
    (step,) = (each for each in read(sqlite, small, call).trace if each.stage == "cache")
    assert step.detail == "similarity 0.8000, probability 0.0000, nearest question of 0190-x, gate: no"


@pytest.mark.parametrize(
    ("values", "stage"),
    [
        ({"state": "open", "status": None, "cost_nusd": None}, ("ledger", "waiting")),
        ({"state": "unknown", "status": "failed", "cost_nusd": None}, ("ledger", "failed")),
        ({"state": "estimated", "status": "cancelled"}, ("ledger", "done")),
        ({"state": "failed", "status": "refused", "http_status": 401, "error_code": "invalid_key"}, ("auth", "failed")),
        ({"cache_kind": "bypass"}, ("cache", "skipped")),
    ],
)
def test_each_end_is_told(sqlite: Engine, small: Ledger, values: Row, stage: tuple[str, str]) -> None:
    assert stage in stages(read(sqlite, small, a_call(**values)))


def test_time_is_split_into_ours_and_theirs(sqlite: Engine, small: Ledger) -> None:
    timing = read(sqlite, small, a_call(), an_attempt()).timing
    assert (timing.overhead_ms, timing.ttft_ms, timing.stream_ms, timing.upstream_ms) == (0.4, 210.0, 690.0, 880.0)


def test_unknown_times_stay_unknown(sqlite: Engine, small: Ledger) -> None:
    timing = read(sqlite, small, a_call(ttft_ms=None), an_attempt(latency_ms=None)).timing
    assert (timing.ttft_ms, timing.stream_ms, timing.upstream_ms) == (None, None, None)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (b'{"a":["<b>\xc3\xa9"]}', '{\n  "a": [\n    "<b>\u00e9"\n  ]\n}'),
        (b"plain \xff text\x00\x1b[31m", "plain \ufffd text\ufffd\ufffd[31m"),
        (b"data: {}\n\ndata: [DONE]\n\n", "data: {}\n\ndata: [DONE]\n\n"),
        (b'["\\ud800"]', '[\n  "\ufffd"\n]'),
        (b"", ""),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_bodies_are_text_whatever_they_hold(sqlite: Engine, small: Ledger, stored: bytes, shown: str) -> None:
    with writing(sqlite) as connection:
        values = {"call_id": "0190-call", "request": stored, "response": None, "truncated": True, "captured_at": 1}
        connection.execute(insert(payloads).values(values))
    detail = read(sqlite, small, a_call())
    assert detail.request is not None
    assert (detail.request.text, detail.request.bytes, detail.request.cut) == (shown, len(stored), True)
    assert detail.response is None
    detail.request.text.encode()


def test_the_settings_of_the_time_are_named(sqlite: Engine, small: Ledger) -> None:
    with writing(sqlite) as connection:
        insert_version(connection, SettingsRow(4, "{}", "ada", "cheaper", 5, values="{}"))
    settings = read(sqlite, small, a_call(settings_version=4)).settings
    assert settings is not None
    assert (settings.actor, settings.reason) == ("ada", "cheaper")


def test_the_key_is_named(sqlite: Engine, small: Ledger) -> None:
    fields = {"name": "Checkout", "prefix": "gov-1", "tenant": "t", "scopes": "[]", "models": "[]", "attribution": "{}"}
    with writing(sqlite) as connection:
        connection.execute(insert(keys).values(id="k-1", hash="h", created_at=0, **fields))
    assert read(sqlite, small, a_call(key_id="k-1")).key == "Checkout"


def test_a_call_that_does_not_exist_is_none(empty: Ledger) -> None:
    assert read_call_detail(empty, "nothing") is None


def test_a_broken_note_does_not_hide_the_call(sqlite: Engine, small: Ledger) -> None:
    detail = read(sqlite, small, a_call(notes="not json", tags="{", usage="[1"))
    assert detail.columns["notes"] == "not json"


def test_every_recorded_call_can_be_shown(ledger: Ledger, rows: list[Row]) -> None:
    for row in rows[:60]:
        detail = read_call_detail(ledger, row["id"])
        assert detail is not None
        assert detail.cost.total_nusd == row["cost_nusd"]
        assert detail.trace[-1].stage == "ledger"

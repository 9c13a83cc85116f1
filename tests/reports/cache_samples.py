"""Small ledgers with every kind of cache outcome, and labels about them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import insert

from backend.cache.semantic.verifier import Verifier
from backend.reports.ledger import Ledger
from db.cache_labels import Label, add_labels, row_of
from db.engine import writing
from db.revisions import bump
from db.tables import calls, payloads
from tests.ledger.samples import make_label as make_any_label
from tests.reports.ledgers import DAY_MS, Row, write_calls

START_AT = 20_700 * DAY_MS
END_AT = START_AT + DAY_MS


def make_row(number: int, **values: Any) -> Row:
    """A settled call in the first hours of the day."""
    row: Row = {column.name: None for column in calls.c}
    row |= {"id": f"call-{number:05d}", "started_at": START_AT + number * 60_000, "worker": "w", "stream": False}
    row |= {"state": "settled", "status": "ok", "origin": "user", "tenant": "t", "model": "m", "cache_kind": "miss"}
    row |= {"cost_nusd": 100, "latency_ms": 1_000.0, "prompt_tokens": 30, "completion_tokens": 10}
    return row | values


def make_hit(number: int, kind: str, **values: Any) -> Row:
    """An answer that took no upstream call."""
    said: dict[str, Any] = {"cache_kind": kind, "cost_nusd": 0, "saved_cache_nusd": 100, "latency_ms": 1.0}
    return make_row(number, **(said | values))


def write_labels(ledger: Ledger, *labels: Label) -> None:
    """Labels as the drainer writes them."""
    with writing(ledger.database.engine) as connection:
        add_labels(connection, [row_of(label, label.at) for label in labels])
        bump(connection, "cache_labels")


def make_label(call_id: str, **values: Any) -> Label:
    """A label about the shipped verifier's probability."""
    return make_any_label(call_id, **({"verifier": Verifier.default().name} | values))


def make_labels(count: int, *, wrong: int = 0, **values: Any) -> list[Label]:
    """Labels of a day, some of them wrong."""
    return [
        make_label(f"label-{number:05d}", at=START_AT + number * 1_000, same=number >= wrong, **values)
        for number in range(count)
    ]


def write_body(ledger: Ledger, call_id: str, question: Any, answer: str) -> None:
    """A captured request and its answer."""
    request = {"model": "m", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": question}]}
    response = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
    row = {
        "call_id": call_id,
        "request": json.dumps(request).encode(),
        "response": json.dumps(response).encode(),
        "captured_at": 1,
    }
    with writing(ledger.database.engine) as connection:
        connection.execute(insert(payloads), [row])


__all__ = [
    "END_AT",
    "START_AT",
    "make_hit",
    "make_label",
    "make_labels",
    "make_row",
    "write_body",
    "write_calls",
    "write_labels",
]

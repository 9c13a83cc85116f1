"""The review queue: pairs of questions with the verdicts on them, as text."""

from __future__ import annotations

from typing import Any

import pytest

from backend.actions import Review, Signature, review_hit
from backend.reports.cache_reviews import Text, read_reviews
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from tests.reports.cache_samples import (
    END_AT,
    START_AT,
    make_hit,
    make_label,
    make_row,
    write_body,
    write_calls,
    write_labels,
)

DAY = Scope(START_AT, END_AT)
NEAR: dict[str, Any] = {"cache_probability": 0.99, "similarity": 0.95, "source_call_id": "call-00000"}


def test_a_served_hit_comes_with_both_questions_where_they_were_captured(small: Ledger) -> None:
    write_calls(small.database.engine, [make_row(0), make_hit(1, "semantic", **NEAR), make_hit(2, "semantic", **NEAR)])
    write_body(small, "call-00000", "How do I leave?", "Through the door.")
    write_body(small, "call-00001", [{"type": "text", "text": "Where is the exit?"}], "Through the\x1b[2J door.")
    newest, first = read_reviews(small, DAY, "served").pairs
    assert (newest.asked, newest.cached.question) == (Text(), "How do I leave?")
    assert first.asked.question == '[{"type": "text", "text": "Where is the exit?"}]'
    assert first.asked.answer == "Through the\N{REPLACEMENT CHARACTER}[2J door."
    assert (first.probability, first.similarity, first.machine_same, first.human_same) == (0.99, 0.95, None, None)


def test_what_was_reviewed_leaves_the_queue_and_is_found_on_demand(small: Ledger) -> None:
    write_calls(small.database.engine, [make_hit(1, "semantic", **NEAR)])
    review_hit(small.database.engine, Review("call-00001", same=False), Signature("ada", "wrong door"))
    assert read_reviews(small, DAY, "served").pairs == ()
    (pair,) = read_reviews(small, DAY, "served", unreviewed=False).pairs
    assert (pair.human_same, pair.reviewer) == (False, "ada")


@pytest.mark.parametrize("queue", ["served", "verified"])
def test_pages_follow_each_other_within_the_range(small: Ledger, queue: Any) -> None:
    write_calls(small.database.engine, [make_hit(number, "semantic", **NEAR) for number in range(25)])
    write_labels(small, *(make_label(f"call-{n:05d}", at=START_AT + n * 60_000, same=n > 3) for n in range(25)))
    seen, before = [], None
    for _ in range(3):
        page = read_reviews(small, DAY, queue, before)
        seen += [pair.call_id for pair in page.pairs]
        before = page.next
    assert seen == [f"call-{number:05d}" for number in reversed(range(25))]
    assert before is None
    late = Scope(START_AT + 20 * 60_000, END_AT)
    assert len(read_reviews(small, late, queue).pairs) == 5


def test_the_machines_verdict_stands_beside_the_pair(small: Ledger) -> None:
    write_calls(small.database.engine, [make_row(5, **NEAR)])
    write_labels(small, make_label("call-00005", at=START_AT + 5, same=False, source="embedding"))
    (pair,) = read_reviews(small, DAY, "verified").pairs
    assert (pair.machine_same, pair.machine_source, pair.saved_nusd) == (False, "embedding", None)


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"messages": 3}', b'{"messages": [7], "choices": [null]}'])
def test_bodies_that_are_no_conversation_have_no_text(small: Ledger, body: bytes) -> None:
    write_calls(small.database.engine, [make_hit(1, "semantic", **NEAR)])
    write_body(small, "call-00001", "x", "y")
    with small.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE payloads SET request = ?, response = ?", (body, body))
    assert read_reviews(small, DAY, "served").pairs[0].asked == Text()

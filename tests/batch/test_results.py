from __future__ import annotations

import orjson

from backend.batch.results import compose, join
from db.job_lines import LineOutcome


def test_an_answer_that_is_no_json_is_kept_as_text() -> None:
    results = compose("batch_1", [LineOutcome(1, "a", "failed", "call", 502, b"<html>\xff")], "batch_expired")
    (line,) = map(orjson.loads, results.errors)
    assert line["response"]["body"] == {"text": "<html>�"}
    assert results.output == []


def test_a_line_that_was_begun_and_never_ended_is_undone() -> None:
    results = compose("batch_1", [LineOutcome(1, "a", "begun", None, None, None)], "batch_cancelled")
    (line,) = map(orjson.loads, results.errors)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("a", None, "batch_cancelled")
    assert results.undone == 1


def test_every_line_ends_with_a_line_feed() -> None:
    assert join([b"a", b"b"]) == b"a\nb\n"
    assert join([]) == b""

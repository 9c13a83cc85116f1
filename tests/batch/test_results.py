from __future__ import annotations

import orjson

from backend.batch.results import ResultFile, compose
from db.files import PART_BYTES
from db.job_lines import LineOutcome


def test_an_answer_that_is_no_json_is_kept_as_text() -> None:
    result = compose("batch_1", LineOutcome(1, "a", "failed", "call", 502, b"<html>\xff"), "batch_expired")
    assert orjson.loads(result.line)["response"]["body"] == {"text": "<html>�"}
    assert (result.noun, result.is_undone) == ("error", False)


def test_an_answer_nested_too_deeply_to_be_written_again_is_kept_as_text() -> None:
    deep = b"[" * 500 + b"]" * 500
    result = compose("batch_1", LineOutcome(1, "a", "completed", "call", 200, deep), "batch_expired")
    assert orjson.loads(result.line)["response"]["body"] == {"text": deep.decode()}
    assert result.noun == "output"


def test_a_line_that_was_begun_and_never_ended_is_undone() -> None:
    result = compose("batch_1", LineOutcome(1, "a", "begun", None, None, None), "batch_cancelled")
    line = orjson.loads(result.line)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("a", None, "batch_cancelled")
    assert result.is_undone


def test_every_line_ends_with_a_line_feed_and_parts_follow_each_other() -> None:
    file, long = ResultFile("file-1"), b"x" * (PART_BYTES + 5)
    file.add(b"a")
    assert not file.is_due
    file.add(long)
    assert file.is_due
    parts = [*file.take()]
    file.add(b"b")
    parts += file.take()
    assert [number for number, _ in parts] == [0, 1, 2]
    assert b"".join(part for _, part in parts) == b"a\n" + long + b"\nb\n"
    assert (file.size, [*file.take()]) == (PART_BYTES + 10, [])

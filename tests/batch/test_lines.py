from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.batch.lines import MOST_PROBLEMS, Rules, read_lines
from backend.errors import Unpriced
from tests.batch.jobs import CHAT, RULES, jsonl, request

BAD: list[tuple[Any, str, str | None]] = [
    (b"not json", "invalid_json_line", None),
    (b"[1]", "invalid_json_line", None),
    (b'{"custom_id": NaN}', "invalid_json_line", None),
    (request(custom_id=None), "missing_required_parameter", "custom_id"),
    (request(custom_id=""), "invalid_value", "custom_id"),
    (request(custom_id=7), "invalid_value", "custom_id"),
    (request(custom_id="x" * 513), "invalid_value", "custom_id"),
    (request(custom_id="a\0b"), "invalid_value", "custom_id"),
    (request(method=None), "missing_required_parameter", "method"),
    (request(method="GET"), "invalid_method", "method"),
    (request(url=None), "missing_required_parameter", "url"),
    (request(url="/v1/embeddings"), "invalid_url", "url"),
    (request(body=None), "missing_required_parameter", "body"),
    (request(body=[1]), "invalid_value", "body"),
    (request(body={"messages": []}), "missing_required_parameter", "body.model"),
    (request(body={"model": 5}), "missing_required_parameter", "body.model"),
    (request(body={"model": "m", "stream": True}), "invalid_value", "body.stream"),
    (request(body={"model": "unknown"}), "model_not_found", "body.model"),
    (request(body={"model": "m\0"}), "invalid_value", "body.model"),
    (
        jsonl(request(body={"model": "m", "x": 0})).replace(b"0}", b"[" * 500 + b"]" * 500 + b"}").strip(),
        "invalid_value",
        "body",
    ),
]
SERVED = Rules(CHAT, 1000, lambda model: model == "m")


@pytest.mark.parametrize(("line", "code", "param"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_named_by_its_number_code_and_parameter(line: Any, code: str, param: str | None) -> None:
    reading = read_lines(jsonl(request(1), b"", line, request(2)), SERVED)
    (problem,) = reading.problems
    assert (problem.code, problem.param, problem.line) == (code, param, 3)
    (shown,) = orjson.loads(reading.errors())["data"]
    assert set(shown) == {"code", "message", "param", "line"}
    assert orjson.loads(reading.errors())["object"] == "list"


def test_a_custom_id_is_used_once() -> None:
    (problem,) = read_lines(jsonl(request(1), request(2), request(1)), RULES).problems
    assert (problem.code, problem.line, problem.param) == ("duplicate_custom_id", 3, "custom_id")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"   \r\n"])
def test_a_file_without_requests_is_empty(content: bytes) -> None:
    (problem,) = read_lines(content, RULES).problems
    assert (problem.code, problem.line) == ("empty_file", None)


def test_more_lines_than_allowed_are_not_read() -> None:
    reading = read_lines(jsonl(*map(request, range(4))), Rules(CHAT, 3))
    assert [problem.code for problem in reading.problems] == ["too_many_tasks"]
    assert not read_lines(jsonl(*map(request, range(3))), Rules(CHAT, 3)).problems


def test_reading_ends_after_a_hundred_problems() -> None:
    assert len(read_lines(b"x\n" * 500, RULES).problems) == MOST_PROBLEMS


def test_lines_keep_their_order_their_body_and_the_one_model() -> None:
    content = b"\xef\xbb\xbf" + jsonl(request(1), b"", request(2)).replace(b"\n", b"\r\n").rstrip()
    reading = read_lines(content, RULES)
    assert [(line.number, line.custom_id) for line in reading.lines] == [(1, "r1"), (3, "r2")]
    assert [orjson.loads(line.body) for line in reading.lines] == [request(1)["body"], request(2)["body"]]
    assert reading.model == "m"


def test_several_models_are_allowed_and_then_none_is_the_jobs() -> None:
    other = request(2, body={"model": "n"})
    reading = read_lines(jsonl(request(1), other), RULES)
    assert (reading.problems, reading.model, reading.models) == ([], None, {"m", "n"})


def test_a_line_whose_price_nobody_knows_is_refused_where_there_is_a_budget() -> None:
    def bound(body: bytes) -> int | None:
        if b"free" in body:
            raise Unpriced("no price")
        return 7

    lines = jsonl(request(1), request(2, body={"model": "free"}))
    reading = read_lines(lines, Rules(CHAT, 1000, bound=bound))
    assert [(problem.code, problem.line) for problem in reading.problems] == [("unknown_cost", 2)]
    assert [line.bound_nusd for line in reading.lines] == [7]
    assert not read_lines(lines, RULES).problems


@given(st.binary(max_size=300))
def test_whatever_bytes_come_reading_ends_with_lines_or_problems(content: bytes) -> None:
    reading = read_lines(content, RULES)
    assert reading.lines or reading.problems

"""Whatever an upstream answered, a failure has words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import Engine

from backend.batch.desk import Ended, LineEnd
from backend.reports.batch_failures import read_failures
from db.engine import reading
from db.job_reads import read_job
from tests.batch.jobs import Office
from tests.batch.samples import open_job


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (b"not <json>", None, "not <json>"),
        (orjson.dumps({"error": "just text"}), None, "just text"),
        (orjson.dumps({"error": {"type": "overloaded", "message": "later"}}), "overloaded", "later"),
        (orjson.dumps({"error": {"code": 17, "detail": "odd"}}), "17", '{"code":17,"detail":"odd"}'),
        (orjson.dumps([1, 2]), None, "[1, 2]"),
        (b"", None, ""),
        (b"\xff" + b"x" * 600, None, "\N{REPLACEMENT CHARACTER}" + "x" * 499),
    ],
)
def test_an_answer_of_any_shape_is_told(sqlite: Engine, answer: bytes, code: Any, message: str) -> None:
    office = Office(sqlite)
    desk = office.desk()
    job, (line,) = desk.exchange(open_job(office, 1), Ended(), 1)
    desk.exchange(job, Ended([LineEnd(line.number, "failed", None, 502, answer)]), 0)
    with reading(sqlite) as connection:
        found = read_job(connection, job.id)
        assert found is not None
        (failure,) = read_failures(connection, found[0], 20)
    assert (failure.line, failure.status_code, failure.code, failure.message) == (1, 502, code, message)

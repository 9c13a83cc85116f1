from __future__ import annotations

from dataclasses import replace

import pytest

from backend.batch.desk import LEASE_MS, Ended, JobRow, LineRow
from backend.batch.jobs import MAX_COST
from db.engine import Engine
from tests.batch.jobs import RULES, Office, jsonl, request
from tests.batch.test_desk import end


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def begin(office: Office, budget: str, bound_nusd: int | None, wanted: int = 10) -> tuple[JobRow, list[LineRow]]:
    """The lines that a budget lets out at once, of five."""
    office.create(jsonl(*map(request, range(5))), metadata={MAX_COST: budget})
    job = office.desk().prepare(office.claim(), replace(RULES, bound=lambda _: bound_nusd))
    return office.desk().exchange(job, Ended(), wanted)


def test_lines_under_way_are_counted_against_the_budget(office: Office) -> None:
    job, lines = begin(office, "0.000000025", 10)
    assert [line.number for line in lines] == [1, 2]
    job, none = office.desk().exchange(job, Ended(), 10)
    job, more = office.desk().exchange(job, Ended([end(lines[0], 200, 2)]), 10)
    assert (none, [line.number for line in more], job.spent_nusd) == ([], [3], 2)


def test_lines_without_a_bound_go_out_alone_until_one_has_told_what_they_cost(office: Office) -> None:
    job, lines = begin(office, "0.000000025", None)
    assert [line.number for line in lines] == [1]
    job, more = office.desk().exchange(job, Ended([end(lines[0], 200, 10)]), 10)
    assert ([line.number for line in more], job.dearest_nusd) == ([2], 10)


def test_a_line_refused_at_no_cost_does_not_tell_what_others_cost(office: Office) -> None:
    job, lines = begin(office, "0.000000025", None)
    job, more = office.desk().exchange(job, Ended([end(lines[0], 400, 0)]), 10)
    assert ([line.number for line in more], job.dearest_nusd) == ([2], None)
    job, more = office.desk().exchange(job, Ended([end(more[0], 200, 0)]), 10)
    assert ([line.number for line in more], job.dearest_nusd) == ([3, 4, 5], 0)


@pytest.mark.parametrize(("bound_nusd", "spent_nusd", "ends"), [(10, 20, False), (None, 0, True)])
def test_lines_that_were_lost_count_what_was_set_aside_for_them(
    office: Office, bound_nusd: int | None, spent_nusd: int, ends: bool
) -> None:
    begin(office, "0.000000025", bound_nusd)
    office.clock.at += LEASE_MS
    job = office.claim("b")
    assert (job.spent_nusd, job.errors is not None) == (spent_nusd, ends)


def test_a_cost_that_nobody_knows_ends_a_job_with_a_budget(office: Office) -> None:
    job, lines = begin(office, "1", None, 1)
    job, none = office.desk().exchange(job, Ended([end(lines[0], 200, None)]), 10)
    assert none == []
    office.desk().finish(office.desk().finalize(job), 30.0)
    shown = office.shown(job.id)
    assert (shown["status"], shown["errors"]["data"][0]["code"]) == ("failed", "batch_cost_unknown")
    assert len(office.results(shown["output_file_id"])) == 1
    assert {line["error"]["code"] for line in office.results(shown["error_file_id"])} == {"batch_cost_unknown"}

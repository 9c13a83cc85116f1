from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from backend.batch import results
from backend.batch.desk import LEASE_MS, MOST_FALLS, Ended, JobRow, LeaseLost, LineEnd, LineRow
from backend.batch.jobs import MAX_COST
from backend.batch.lines import Problem
from backend.batch.results import ResultFile, name_file
from backend.batch.wire import DAY_MS
from backend.call import Identity
from db.engine import Engine, reading
from tests.batch.jobs import OWNER, RULES, Office, jsonl, request


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def end(line: LineRow, status_code: int = 200, cost_nusd: int | None = 0) -> LineEnd:
    state = "completed" if status_code == 200 else "failed"
    return LineEnd(line.number, state, f"call-{line.number}", status_code, b'{"n":%d}' % line.number, cost_nusd)


def open_job(office: Office, lines: int = 3, **asked: Any) -> JobRow:
    """A job in progress, held by worker a."""
    office.create(jsonl(*map(request, range(lines))), **asked)
    return office.desk().prepare(office.claim(), RULES)


def test_a_job_goes_from_validating_to_its_two_files(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    assert (job.status, job.total, job.model) == ("in_progress", 3, "m")
    job, lines = desk.exchange(job, Ended(), 10)
    assert [line.custom_id for line in lines] == ["r0", "r1", "r2"]
    job, more = desk.exchange(job, Ended([end(lines[2], 200, 20), end(lines[0], 200, 30), end(lines[1], 400)]), 10)
    assert more == []
    shown = office.shown(desk.finish(desk.finalize(job), 30.0).id)
    assert (shown["status"], shown["request_counts"]) == ("completed", {"total": 3, "completed": 2, "failed": 1})
    assert shown["governor"]["cost_nusd"] == 50
    assert all(shown[f"{name}_at"] for name in ("in_progress", "finalizing", "completed"))
    output, errors = office.results(shown["output_file_id"]), office.results(shown["error_file_id"])
    assert [(line["custom_id"], line["response"]["body"]) for line in output] == [("r0", {"n": 1}), ("r2", {"n": 3})]
    assert output[0]["response"] == {"status_code": 200, "request_id": "call-1", "body": {"n": 1}}
    assert [(line["custom_id"], line["response"]["status_code"], line["error"]) for line in errors] == [
        ("r1", 400, None)
    ]
    assert office.files.retrieve(OWNER, shown["output_file_id"])["purpose"] == "batch_output"
    with reading(office.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM job_lines")) == 0


def test_a_job_of_bad_lines_fails_and_says_where(office: Office) -> None:
    job_id = office.create(jsonl(request(1), b"nonsense", request(1)))
    office.desk().prepare(office.claim(), RULES)
    shown = office.shown(job_id)
    assert (shown["status"], shown["request_counts"]["total"]) == ("failed", 0)
    assert [(error["line"], error["code"]) for error in shown["errors"]["data"]] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
    ]
    assert office.desk().claim() is None


def test_a_deleted_input_file_fails_the_job_as_empty(office: Office) -> None:
    job_id = office.create(jsonl(request()))
    office.files.delete(OWNER, office.shown(job_id)["input_file_id"])
    assert office.desk().prepare(office.claim(), RULES).status == "failed"


def test_a_held_job_is_nobody_elses_until_its_lease_is_over(office: Office) -> None:
    job = open_job(office)
    assert office.desk("b").claim() is None
    office.clock.at += LEASE_MS - 1
    assert office.desk("b").claim() is None
    office.desk("a").renew(job)
    office.clock.at += LEASE_MS - 1
    assert office.desk("b").claim() is None
    office.clock.at += 1
    assert office.claim("b").id == job.id


def test_what_a_lost_worker_had_begun_is_begun_again_and_the_rest_is_kept(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    job, lines = desk.exchange(job, Ended(), 2)
    desk.exchange(job, Ended([end(lines[0])]), 0)
    office.clock.at += LEASE_MS
    job = office.claim("b")
    job, again = office.desk("b").exchange(job, Ended(), 10)
    assert [(line.number, line.tries) for line in again] == [(2, 1), (3, 0)]
    assert (job.completed, job.failed) == (1, 0)


def test_a_worker_that_lost_its_lease_writes_nothing(office: Office) -> None:
    desk, stale = office.desk(), open_job(office)
    stale, lines = desk.exchange(stale, Ended(), 3)
    office.clock.at += LEASE_MS
    office.claim("b")
    acts: list[Any] = [
        lambda: desk.exchange(stale, Ended([end(lines[0], 200, 9)]), 1),
        lambda: desk.renew(stale),
        lambda: desk.release(stale),
        lambda: desk.finalize(stale),
        lambda: desk.finish(stale, 30.0),
    ]
    for act in acts:
        with pytest.raises(LeaseLost):
            act()
    shown = office.shown(stale.id)
    assert (shown["status"], shown["request_counts"]["completed"]) == ("in_progress", 0)
    assert (shown["governor"]["cost_nusd"], office.files.list(OWNER, {"purpose": "batch_output"})["data"]) == (0, [])


def test_a_released_job_is_taken_up_at_once(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    job, _ = desk.exchange(job, Ended(), 2)
    desk.release(job)
    _, lines = office.desk("b").exchange(office.claim("b"), Ended(), 10)
    assert [line.number for line in lines] == [1, 2, 3]


def test_a_cancelled_job_begins_nothing_and_keeps_what_it_has(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    job, lines = desk.exchange(job, Ended(), 1)
    office.jobs.cancel(OWNER, job.id)
    job, none = desk.exchange(job, Ended([end(lines[0])]), 5)
    assert (job.status, none) == ("cancelling", [])
    desk.finish(desk.finalize(job), 30.0)
    shown = office.shown(job.id)
    assert (shown["status"], shown["request_counts"]) == ("cancelled", {"total": 3, "completed": 1, "failed": 2})
    assert shown["cancelled_at"] is not None
    assert len(office.results(shown["output_file_id"])) == 1
    assert {line["error"]["code"] for line in office.results(shown["error_file_id"])} == {"batch_cancelled"}


@pytest.mark.parametrize(
    ("asked", "code", "status"),
    [({}, "batch_expired", "expired"), ({"metadata": {MAX_COST: "0"}}, "batch_budget_reached", "completed")],
)
def test_lines_that_never_came_to_their_turn_say_why(
    office: Office, asked: dict[str, Any], code: str, status: str
) -> None:
    desk, job = office.desk(), open_job(office, **asked)
    desk.finish(desk.finalize(job), 30.0)
    shown = office.shown(job.id)
    assert (shown["status"], shown["output_file_id"], shown[f"{status}_at"] is None) == (status, None, False)
    lines = office.results(shown["error_file_id"])
    assert [(line["response"], line["error"]["code"]) for line in lines] == [(None, code)] * 3


def test_an_outcome_counts_once(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    job, lines = desk.exchange(job, Ended(), 1)
    job, _ = desk.exchange(job, Ended([end(lines[0])]), 0)
    job, _ = desk.exchange(job, Ended([end(lines[0], 400)]), 0)
    assert (job.completed, job.failed) == (1, 0)


def test_an_exchange_that_was_written_and_not_confirmed_may_be_repeated(office: Office) -> None:
    desk, job = office.desk(), open_job(office, 5)
    job, lines = desk.exchange(job, Ended(), 2)
    ended = [end(lines[0], 200, 7)]
    _, unheard = desk.exchange(job, Ended(ended), 1)
    job, again = desk.exchange(job, Ended(ended, held=[lines[1].number]), 2)
    assert (job.completed, job.spent_nusd) == (1, 7)
    assert ([line.number for line in unheard], [line.number for line in again]) == ([3], [3, 4])


def test_results_of_many_parts_are_whole_and_leave_no_part_of_a_lost_worker(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PART_BYTES", 100)
    desk, job = office.desk(), open_job(office, 8)
    job, lines = desk.exchange(job, Ended(), 8)
    job, _ = desk.exchange(job, Ended([end(line) for line in lines]), 0)
    job = desk.finalize(job)
    stale = ResultFile(name_file(job, "output"))
    stale.add(b"half of what a lost worker wrote" * 20)
    desk._write_parts(job, stale)
    office.clock.at += LEASE_MS
    job = office.claim("b")
    office.desk("b").finish(office.desk("b").finalize(job), 30.0)
    shown = office.shown(job.id)
    found = office.results(shown["output_file_id"])
    assert [line["custom_id"] for line in found] == [f"r{number}" for number in range(8)]
    assert office.files.retrieve(OWNER, shown["output_file_id"])["bytes"] == len(office.read(shown["output_file_id"]))


def test_a_job_that_never_goes_on_is_failed_with_a_reason_and_keeps_its_lines(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    desk.finalize(job)
    for _ in range(MOST_FALLS):
        office.clock.at += LEASE_MS
        job = office.claim()
    office.clock.at += LEASE_MS
    assert office.claim().status == "failed"
    shown = office.shown(job.id)
    assert (shown["status"], shown["errors"]["data"][0]["code"]) == ("failed", "batch_stuck")
    with reading(office.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM job_lines")) == 3
    office.clock.at += LEASE_MS
    assert office.desk().claim() is None


def test_a_job_that_goes_on_or_is_let_go_may_be_taken_up_any_number_of_times(office: Office) -> None:
    job = open_job(office)
    for number in range(3 * MOST_FALLS):
        if number % 2:
            office.desk().release(job)
        else:
            office.desk().exchange(job, Ended(), 0)
        office.clock.at += LEASE_MS
        job = office.claim()
    assert job.status == "in_progress"


def test_a_tenants_many_jobs_do_not_make_anothers_wait(office: Office) -> None:
    mine = [office.create(jsonl(request())) for _ in range(3)]
    theirs = office.create(jsonl(request()), Identity("other", "key-2"))
    assert [office.claim().id for _ in range(4)] == [mine[0], theirs, mine[1], mine[2]]


def test_the_lines_that_a_failed_job_left_are_forgotten_after_their_time_and_no_others(office: Office) -> None:
    desk, stuck = office.desk(), open_job(office)
    desk.fail(stuck, Problem("internal_error", "It does not go on."))
    running = open_job(office, 2)
    assert desk.sweep(1.0) == 0
    office.clock.at += DAY_MS
    assert desk.sweep(1.0) == 3
    assert office.shown(stuck.id)["errors"]["data"][0]["code"] == "internal_error"
    with reading(office.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM job_lines")) == running.total

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import text

from backend.batch.desk import LEASE_MS, Ended, JobRow, LeaseLost, LineEnd, LineRow
from backend.batch.jobs import MAX_COST
from db.engine import Engine, reading
from tests.batch.jobs import OWNER, RULES, Office, jsonl, request
from tests.databases import open_sqlite


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def end(line: LineRow, status_code: int = 200) -> LineEnd:
    state = "completed" if status_code == 200 else "failed"
    return LineEnd(line.number, state, f"call-{line.number}", status_code, b'{"n":%d}' % line.number)


def open_job(office: Office, lines: int = 3, **asked: Any) -> JobRow:
    """A job in progress, held by worker a."""
    office.create(jsonl(*map(request, range(lines))), **asked)
    return office.desk().prepare(office.claim(), RULES)


def test_a_job_goes_from_validating_to_its_two_files(office: Office) -> None:
    desk, job = office.desk(), open_job(office)
    assert (job.status, job.total, job.model) == ("in_progress", 3, "m")
    job, lines = desk.exchange(job, Ended(), 10)
    assert [line.custom_id for line in lines] == ["r0", "r1", "r2"]
    job, more = desk.exchange(job, Ended([end(lines[2]), end(lines[0]), end(lines[1], 400)], 50), 10)
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
        lambda: desk.exchange(stale, Ended([end(lines[0])], 9), 1),
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


class LineStates(RuleBasedStateMachine):
    """Two workers, lost leases, cancels: a line ends once, is held by one, and every count is that of the lines."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self.office = Office(open_sqlite(Path(self._folder.name)))
        self.held: dict[str, tuple[JobRow, dict[int, LineRow]]] = {}
        self.answers: dict[int, int] = {}
        self.over = self.cancelled = False
        self.job_id = self.office.create(jsonl(*map(request, range(4))))

    def teardown(self) -> None:
        self.office.engine.dispose()
        self._folder.cleanup()

    workers = st.sampled_from(["a", "b"])

    @rule(worker=workers)
    def claim(self, worker: str) -> None:
        job = self.office.desk(worker).claim()
        if job is None:
            return
        if job.status == "validating":
            job = self.office.desk(worker).prepare(job, RULES)
        self.held[worker] = (job, {})

    @rule(forward_ms=st.sampled_from([1, LEASE_MS // 2, LEASE_MS]))
    def wait(self, forward_ms: int) -> None:
        self.office.clock.at += forward_ms

    @rule(worker=workers, wanted=st.integers(0, 3), codes=st.lists(st.sampled_from([200, 500]), max_size=3))
    def exchange(self, worker: str, wanted: int, codes: list[int]) -> None:
        if worker not in self.held:
            return
        job, mine = self.held[worker]
        ended = [end(line, code) for line, code in zip(list(mine.values()), codes, strict=False)]
        try:
            job, lines = self.office.desk(worker).exchange(job, Ended(ended, len(ended)), wanted)
        except LeaseLost:
            del self.held[worker]
            return
        for each in ended:
            del mine[each.number]
            assert each.number not in self.answers, "a line ended twice"
            self.answers[each.number] = each.status_code
        mine |= {line.number: line for line in lines}
        self.held[worker] = (job, mine)

    @rule(worker=workers)
    def release(self, worker: str) -> None:
        if worker in self.held:
            job, _ = self.held.pop(worker)
            try:
                self.office.desk(worker).release(job)
            except LeaseLost:
                return

    @rule(worker=workers)
    def finish(self, worker: str) -> None:
        if worker not in self.held or self.held[worker][1]:
            return
        job, _ = self.held.pop(worker)
        try:
            self.office.desk(worker).finish(self.office.desk(worker).finalize(job), 1.0)
        except LeaseLost:
            return
        self.over = True
        assert (self.office.shown(self.job_id)["status"] == "cancelled") == self.cancelled

    @precondition(lambda self: not self.over)
    @rule()
    def cancel(self) -> None:
        if self.office.shown(self.job_id)["status"] in ("validating", "in_progress"):
            self.office.jobs.cancel(OWNER, self.job_id)
            self.cancelled = True

    @invariant()
    def counts_are_those_of_the_answers(self) -> None:
        shown = self.office.shown(self.job_id)
        counts, good = shown["request_counts"], sum(code == 200 for code in self.answers.values())
        assert counts["completed"] == good
        assert shown["governor"]["cost_nusd"] == len(self.answers)
        if not self.over:
            assert counts["failed"] == len(self.answers) - good
            return
        lines = self.office.results(shown["output_file_id"]) + self.office.results(shown["error_file_id"])
        assert len({line["custom_id"] for line in lines}) == len(lines) == counts["total"]
        assert counts["failed"] == counts["total"] - good

    @invariant()
    def a_line_is_in_one_pair_of_hands(self) -> None:
        """A worker whose claim is the last holds exactly the lines that are begun."""
        rows = self._begun()
        for job, mine in self.held.values():
            if job.claims == self._claims():
                assert set(mine) == set(rows)

    def _begun(self) -> Iterator[int]:
        with reading(self.office.engine) as connection:
            return iter(connection.scalars(text("SELECT number FROM job_lines WHERE state = 'begun'")).all())

    def _claims(self) -> int:
        with reading(self.office.engine) as connection:
            return int(connection.execute(text("SELECT claims FROM jobs")).scalar_one())


LineStates.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLineStates = LineStates.TestCase

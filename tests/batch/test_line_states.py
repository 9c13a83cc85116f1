from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import text

from backend.batch.desk import LEASE_MS, Ended, JobRow, LeaseLost, LineRow
from db.engine import reading
from tests.batch.jobs import OWNER, RULES, Office, jsonl, request
from tests.batch.test_desk import end
from tests.databases import open_sqlite


class LineStates(RuleBasedStateMachine):
    """Two workers, lost leases, cancels: a line ends once, is held by one, and every count is that of the lines."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self.office = Office(open_sqlite(Path(self._folder.name)))
        self.held: dict[str, tuple[JobRow, dict[int, LineRow]]] = {}
        self.answers: dict[int, int | None] = {}
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
        ended = [end(line, code, 1) for line, code in zip(list(mine.values()), codes, strict=False)]
        try:
            job, lines = self.office.desk(worker).exchange(job, Ended(ended), wanted)
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

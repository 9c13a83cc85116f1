"""A job in the hands of a worker: claimed under a lease, lines exchanged for outcomes, its files written at the end.

Every write names the claim it was made under; one of an older claim raises ``LeaseLost`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.batch.files import RESULT, lifetime_ms, make_row
from backend.batch.lines import Problem, Reading, Rules, read_lines, show_problems
from backend.batch.results import ResultFile, compose, name_file
from backend.batch.wire import now_ms
from backend.call import Identity
from db import files, job_lines, jobs
from db.engine import Connection, Engine, reading, writing
from db.job_lines import LineEnd, LineRow, Purse
from db.jobs import JobRow, LeaseLost

__all__ = ["LEASE_MS", "Desk", "JobRow", "LeaseLost", "LineEnd", "LineRow", "why_undone"]

LEASE_MS = 15_000
"""How long a job belongs to a worker that says nothing, unless the settings say otherwise."""

MOST_FALLS = 20
"""How often a job may be taken up without going on, before it is given up."""

_OUTCOMES = 100
_NOUNS = ("output", "error")
_STUCK = Problem("batch_stuck", "The batch was taken up again and again and did not go on; its lines are kept.")
_COST_UNKNOWN = Problem("batch_cost_unknown", "What a call cost is not known, so that the budget cannot be kept.")


@dataclass(frozen=True, slots=True)
class Ended:
    """Lines that ended, or were given back.

    ``held`` numbers those still in hand; said where nobody knows whether an earlier exchange was written, so that lines
    it began and nobody heard of wait again.
    """

    ends: Sequence[LineEnd] = ()
    held: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """The jobs of a database as one worker sees them."""

    engine: Engine
    worker: str
    clock: Callable[[], int] = now_ms
    lease_ms: Callable[[], int] = lambda: LEASE_MS

    def claim(self) -> JobRow | None:
        """The next job that nobody holds, if any; lines its last holder had begun wait again.

        It is failed where it was taken up too often without going on.
        """
        with reading(self.engine) as connection:
            if not jobs.is_any_free(connection, self.clock()):
                return None
        with writing(self.engine) as connection:
            job = jobs.claim_job(connection, self.worker, self.clock(), self.lease_ms())
            if job is None:
                return None
            job = _take_back(connection, job)
            return self._end_failed(connection, job, _STUCK) if job.falls > MOST_FALLS else job

    def renew(self, job: JobRow) -> JobRow:
        """Hold the job for another lease. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            return jobs.change_job(connection, job, **self._lease())

    def release(self, job: JobRow) -> None:
        """Let another worker take the job up at once; what was begun waits again. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            jobs.change_job(connection, _take_back(connection, job), leased_until=None, falls=0)

    def prepare(self, job: JobRow, rules: Rules) -> JobRow:
        """Read the input file into lines, or fail the job with what is wrong. Raises ``LeaseLost``."""
        with reading(self.engine) as connection:
            content = b"".join(files.read_parts(connection, job.input_file_id))
        found = read_lines(content, rules)
        with writing(self.engine) as connection:
            if found.problems:
                failed = {"status": "failed", "failed_at": self.clock(), "errors": found.errors().decode()}
                return _leave(connection, job, failed)
            return self._begin(connection, job, found)

    def exchange(self, job: JobRow, ended: Ended, wanted: int) -> tuple[JobRow, list[LineRow]]:
        """Write what ended and begin the next lines, in one transaction. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            done = job_lines.end_lines(connection, job.id, ended.ends)
            if ended.held is not None:
                job_lines.return_lines(connection, job.id, ended.held)
            goes_on: dict[str, Any] = {"falls": 0} if done or job.status == "in_progress" else {}
            doubt = _doubt(job, [end.cost_nusd for end in done])
            job = jobs.count_lines(connection, job, _sum(done), **self._lease(), **goes_on, **doubt)
            may_begin = wanted > 0 and job.status == "in_progress" and job.errors is None
            return job, job_lines.begin_lines(connection, job.id, wanted, _purse(job)) if may_begin else []

    def finalize(self, job: JobRow) -> JobRow:
        """Say that the results are being written; a cancelled job stays cancelling. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            job = jobs.change_job(connection, job, **self._lease())
            if job.status == "cancelling":
                return job
            at = job.finalizing_at or self.clock()
            return jobs.change_job(connection, job, status="finalizing", finalizing_at=at)

    def finish(self, job: JobRow, keep_days: float) -> JobRow:
        """Write both files part by part, then the final status, and forget the lines. Raises ``LeaseLost``."""
        why, drafts = why_undone(job), {noun: ResultFile(name_file(job, noun)) for noun in _NOUNS}
        undone = self._draft(job, drafts, why)
        status = _ENDINGS.get(why, "completed") if undone or job.status == "cancelling" else "completed"
        with writing(self.engine) as connection:
            ending: dict[str, Any] = {"status": status, f"{status}_at": self.clock(), "failed": job.failed + undone}
            for noun, draft in drafts.items():
                if draft.size:
                    files.insert_file(connection, _describe(job, noun, draft, keep_days))
                    ending[f"{noun}_file_id"] = draft.id
            job_lines.delete_lines(connection, job.id)
            return _leave(connection, job, ending)

    def fail(self, job: JobRow, problem: Problem) -> JobRow:
        """End a job that cannot go on; its lines are kept. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            return self._end_failed(connection, job, problem)

    def sweep(self, keep_days: float) -> int:
        """Delete files whose time is over, and lines that failed jobs left so long ago; how many of both."""
        with writing(self.engine) as connection:
            gone = files.delete_expired(connection, self.clock())
        with writing(self.engine) as connection:
            return gone + job_lines.delete_abandoned(connection, self.clock() - lifetime_ms(None, keep_days))

    def _begin(self, connection: Connection, job: JobRow, found: Reading) -> JobRow:
        started = {"total": len(found.lines), "model": found.model, "in_progress_at": self.clock(), "falls": 0}
        job = jobs.begin_job(connection, job, **started, **self._lease())
        job_lines.insert_lines(connection, job.id, found.lines)
        return job

    def _draft(self, job: JobRow, drafts: dict[str, ResultFile], why: str) -> int:
        """Write the parts of both files; how many requests never came to their turn."""
        with writing(self.engine) as connection:
            jobs.change_job(connection, job, **self._lease())
            files.delete_parts(connection, [draft.id for draft in drafts.values()])
        undone, after = 0, 0
        while outcomes := self._read_outcomes(job, after):
            for result in (compose(job.id, outcome, why) for outcome in outcomes):
                drafts[result.noun].add(result.line)
                undone += result.is_undone
                if drafts[result.noun].is_due:
                    self._write_parts(job, drafts[result.noun])
            after = outcomes[-1].number
        for draft in drafts.values():
            self._write_parts(job, draft)
        return undone

    def _read_outcomes(self, job: JobRow, after: int) -> list[job_lines.LineOutcome]:
        with reading(self.engine) as connection:
            return job_lines.read_outcomes(connection, job.id, after, _OUTCOMES)

    def _write_parts(self, job: JobRow, draft: ResultFile) -> None:
        with writing(self.engine) as connection:
            jobs.change_job(connection, job, **self._lease())
            for number, part in draft.take():
                files.insert_part(connection, draft.id, number, part)

    def _end_failed(self, connection: Connection, job: JobRow, problem: Problem) -> JobRow:
        files.delete_parts(connection, [name_file(job, noun) for noun in _NOUNS])
        errors = show_problems([problem]).decode()
        return _leave(connection, job, {"status": "failed", "failed_at": self.clock(), "errors": errors})

    def _lease(self) -> dict[str, int]:
        return {"leased_until": self.clock() + self.lease_ms()}


_ENDINGS = {"batch_cancelled": "cancelled", "batch_expired": "expired", "batch_cost_unknown": "failed"}


def why_undone(job: JobRow) -> str:
    """Why lines of this job would be left undone now."""
    if job.status == "cancelling":
        return "batch_cancelled"
    if job.errors is not None:
        return "batch_cost_unknown"
    if job.max_cost_nusd is not None and (job.finalizing_at or 0) < job.expires_at:
        return "batch_budget_reached"
    return "batch_expired"


def _leave(connection: Connection, job: JobRow, values: dict[str, object]) -> JobRow:
    return jobs.change_job(connection, job, **values, leased_until=None)


def _take_back(connection: Connection, job: JobRow) -> JobRow:
    """Let begun lines wait again; their calls may have been billed, so a budget pays what was set aside for them."""
    reserved = job_lines.return_lines(connection, job.id)
    if job.max_cost_nusd is None or not reserved:
        return job
    spent_nusd = job.spent_nusd + sum(each or 0 for each in reserved)
    return jobs.change_job(connection, job, spent_nusd=spent_nusd, **_doubt(job, reserved))


def _doubt(job: JobRow, costs: Sequence[int | None]) -> dict[str, Any]:
    """What ends a job with a budget where a cost is not known."""
    if job.max_cost_nusd is None or None not in costs:
        return {}
    return {"errors": show_problems([_COST_UNKNOWN]).decode()}


def _sum(done: Sequence[LineEnd]) -> jobs.Sums:
    states = [end.state for end in done]
    costs = [end.cost_nusd for end in done if end.cost_nusd is not None]
    told = [end.cost_nusd for end in done if end.cost_nusd or (end.cost_nusd == 0 and end.state == "completed")]
    return jobs.Sums(states.count("completed"), states.count("failed"), sum(costs), max(told, default=None))


def _purse(job: JobRow) -> Purse | None:
    if job.max_cost_nusd is None:
        return None
    return Purse(job.max_cost_nusd - job.spent_nusd, job.dearest_nusd)


def _describe(job: JobRow, noun: str, draft: ResultFile, keep_days: float) -> files.FileRow:
    owner, lives_ms = Identity(job.tenant, job.key_id), lifetime_ms(job.output_lives_s, keep_days)
    return replace(make_row(owner, f"{job.id}_{noun}.jsonl", RESULT, lives_ms, draft.size), id=draft.id)

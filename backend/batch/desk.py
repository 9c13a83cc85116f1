"""A job in the hands of a worker: claimed under a lease, lines exchanged for outcomes, its files written at the end.

Every write names the claim it was made under; one of an older claim raises ``LeaseLost`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.batch.files import RESULT, lifetime_ms, make_row
from backend.batch.lines import Reading, Rules, read_lines
from backend.batch.results import compose, join
from backend.batch.wire import now_ms
from backend.call import Identity
from db import files, job_lines, jobs
from db.engine import Connection, Engine, reading, writing
from db.job_lines import LineEnd, LineRow
from db.jobs import JobRow, LeaseLost

__all__ = ["LEASE_MS", "Desk", "JobRow", "LeaseLost", "LineEnd", "LineRow", "why_undone"]

LEASE_MS = 15_000
"""How long a job belongs to a worker that says nothing, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Lines that ended, and what their calls cost in nano-dollars."""

    ends: Sequence[LineEnd] = ()
    cost_nusd: int = 0


@dataclass(frozen=True, slots=True)
class Desk:
    """The jobs of a database as one worker sees them."""

    engine: Engine
    worker: str
    clock: Callable[[], int] = now_ms
    lease_ms: Callable[[], int] = lambda: LEASE_MS

    def claim(self) -> JobRow | None:
        """The oldest job that nobody holds, if any; lines its last holder had begun wait again."""
        with reading(self.engine) as connection:
            if not jobs.is_any_free(connection, self.clock()):
                return None
        with writing(self.engine) as connection:
            job = jobs.claim_job(connection, self.worker, self.clock(), self.lease_ms())
            if job is not None:
                job_lines.return_lines(connection, job.id)
            return job

    def renew(self, job: JobRow) -> JobRow:
        """Hold the job for another lease. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            return jobs.change_job(connection, job, **self._lease())

    def release(self, job: JobRow) -> None:
        """Let another worker take the job up at once; what was begun waits again. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            job_lines.return_lines(connection, job.id)
            jobs.change_job(connection, job, leased_until=None)

    def prepare(self, job: JobRow, rules: Rules) -> JobRow:
        """Read the input file into lines, or fail the job with what is wrong. Raises ``LeaseLost``."""
        with reading(self.engine) as connection:
            content = files.read_content(connection, job.input_file_id)
        found = read_lines(content or b"", rules)
        with writing(self.engine) as connection:
            if found.problems:
                failed = {"status": "failed", "failed_at": self.clock(), "errors": found.errors().decode()}
                return _leave(connection, job, failed)
            return self._begin(connection, job, found)

    def exchange(self, job: JobRow, ended: Ended, wanted: int) -> tuple[JobRow, list[LineRow]]:
        """Write what ended and begin the next lines, in one transaction. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            done = job_lines.end_lines(connection, job.id, ended.ends)
            completed = sum(end.state == "completed" for end in done)
            sums = jobs.Sums(completed, len(done) - completed, ended.cost_nusd)
            job = jobs.count_lines(connection, job, sums, **self._lease())
            may_begin = wanted > 0 and job.status == "in_progress"
            return job, job_lines.begin_lines(connection, job.id, wanted) if may_begin else []

    def finalize(self, job: JobRow) -> JobRow:
        """Say that the results are being written; a cancelled job stays cancelling. Raises ``LeaseLost``."""
        with writing(self.engine) as connection:
            job = jobs.change_job(connection, job, **self._lease())
            if job.status == "cancelling":
                return job
            return jobs.change_job(connection, job, status="finalizing", finalizing_at=self.clock())

    def finish(self, job: JobRow, keep_days: float) -> JobRow:
        """Write both files and the final status, and forget the lines. Raises ``LeaseLost``."""
        why = why_undone(job)
        with reading(self.engine) as connection:
            results = compose(job.id, job_lines.read_outcomes(connection, job.id), why)
        ending = {"batch_cancelled": "cancelled", "batch_expired": "expired"}.get(why, "completed")
        status = ending if results.undone or job.status == "cancelling" else "completed"
        with writing(self.engine) as connection:
            names = {
                "output_file_id": _keep(connection, job, ("output", results.output), keep_days),
                "error_file_id": _keep(connection, job, ("error", results.errors), keep_days),
            }
            counts = {"failed": job.failed + results.undone}
            job_lines.delete_lines(connection, job.id)
            return _leave(connection, job, {"status": status, f"{status}_at": self.clock(), **names, **counts})

    def sweep(self) -> int:
        """Delete files whose time is over; how many."""
        with writing(self.engine) as connection:
            return files.delete_expired(connection, self.clock())

    def _begin(self, connection: Connection, job: JobRow, found: Reading) -> JobRow:
        started = {"total": len(found.lines), "model": found.model, "in_progress_at": self.clock()}
        job = jobs.begin_job(connection, job, **started, **self._lease())
        job_lines.insert_lines(connection, job.id, found.lines)
        return job

    def _lease(self) -> dict[str, int]:
        return {"leased_until": self.clock() + self.lease_ms()}


def why_undone(job: JobRow) -> str:
    """Why lines of this job would be left undone now."""
    if job.status == "cancelling":
        return "batch_cancelled"
    if job.max_cost_nusd is not None and job.spent_nusd >= job.max_cost_nusd:
        return "batch_budget_reached"
    return "batch_expired"


def _leave(connection: Connection, job: JobRow, values: dict[str, object]) -> JobRow:
    return jobs.change_job(connection, job, **values, leased_until=None)


def _keep(connection: Connection, job: JobRow, named: tuple[str, list[bytes]], keep_days: float) -> str | None:
    noun, lines = named
    if not lines:
        return None
    content, name = join(lines), f"{job.id}_{noun}.jsonl"
    owner = Identity(job.tenant, job.key_id)
    row = make_row(owner, name, RESULT, lifetime_ms(job.output_lives_s, keep_days), len(content))
    files.insert_file(connection, row, content)
    return row.id

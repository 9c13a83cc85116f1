"""Batch jobs as the page shows them: the list, and one with how far it is, what it cost and what failed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from backend.batch.files import FileContent
from backend.batch.wire import now_ms
from backend.reports.batch_failures import Failure, read_failures
from backend.reports.ledger import Ledger
from backend.reports.names import read_names
from db.files import FileRow, Page
from db.job_reads import Named, count_begun, is_any_unfinished, list_all_jobs, read_living_files
from db.job_reads import read_job as read_named
from db.jobs import UNFINISHED, JobRow

__all__ = [
    "STATES",
    "BatchJob",
    "Failure",
    "FileRow",
    "JobDetail",
    "JobPage",
    "has_unfinished",
    "read_file",
    "read_job",
    "read_jobs",
]

STATES: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "unfinished": UNFINISHED,
    "completed": ("completed",),
    "failed": ("failed",),
    "expired": ("expired",),
    "cancelled": ("cancelled",),
}
"""What the list can be filtered by, with the statuses each stands for."""

_MOST_ROWS = 200
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_FILES = {"output_file_id": "results", "error_file_id": "errors", "input_file_id": "input"}


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One job as it was at ``read_at`` (epoch ms); ``filename`` is its input's while that is there."""

    row: JobRow
    filename: str | None
    key: str | None
    """The name of the key that made it; None where it was made without one."""
    read_at: int

    @property
    def is_unfinished(self) -> bool:
        """Whether it still changes."""
        return self.row.status in UNFINISHED

    @property
    def can_be_cancelled(self) -> bool:
        """Whether its end may be asked for."""
        return self.row.status in {"validating", "in_progress"}

    @property
    def is_held(self) -> bool:
        """Whether a worker has it in hand."""
        return self.is_unfinished and (self.row.leased_until or 0) > self.read_at

    @property
    def done(self) -> int:
        """Lines that ended, well or not; once the job has, those that never came to their turn count as failed."""
        return self.row.completed + self.row.failed

    @property
    def share(self) -> float | None:
        """How much of it is answered, 0 to 1; None while nobody knows how many lines it has."""
        return min(self.row.completed / self.row.total, 1.0) if self.row.total else None

    @property
    def ended_at(self) -> int | None:
        """When it came to its end (epoch ms)."""
        return next((at for name in _ENDS if (at := getattr(self.row, name)) is not None), None)

    @property
    def took_ms(self) -> int:
        """From its making to its end, or until now."""
        return max((self.ended_at or self.read_at) - self.row.created_at, 0)

    @property
    def left_ms(self) -> int | None:
        """How long it still takes at its pace so far; None while nobody holds it or no line has ended."""
        begun_at = self.row.in_progress_at
        if self.row.status != "in_progress" or not self.is_held or begun_at is None or not self.done:
            return None
        return (self.read_at - begun_at) * (self.row.total - self.done) // self.done


@dataclass(frozen=True, slots=True)
class JobPage:
    """Up to 200 jobs, newest first; ``next`` continues after them."""

    jobs: tuple[BatchJob, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class JobDetail:
    """One job in full: lines that are out now, its first failures, its files by what they hold."""

    job: BatchJob
    under_way: int
    failures: tuple[Failure, ...]
    files: Mapping[str, FileRow]
    """``results``, ``errors`` and ``input``, each only while it is there."""

    @property
    def metadata(self) -> dict[str, str]:
        """What its owner wrote on it."""
        found: dict[str, str] = orjson.loads(self.job.row.metadata or "null") or {}
        return found


def read_jobs(ledger: Ledger, state: str = "all", after: str | None = None, limit: int = 50) -> JobPage:
    """Jobs of every tenant, those made before the job ``after`` only; ``state`` is one of ``STATES``."""
    limit = max(1, min(limit, _MOST_ROWS))
    with ledger.read() as connection:
        found = list_all_jobs(connection, STATES[state], Page(limit + 1, after))
        names = read_names(connection)
    shown = tuple(_describe(each, names) for each in found[:limit])
    return JobPage(shown, shown[-1].row.id if len(found) > limit else None)


def has_unfinished(ledger: Ledger) -> bool:
    """Whether any job still changes."""
    with ledger.read() as connection:
        return is_any_unfinished(connection)


def read_job(ledger: Ledger, job_id: str) -> JobDetail | None:
    """One job of whichever tenant; None where there is none."""
    with ledger.read() as connection:
        found = read_named(connection, job_id)
        if found is None:
            return None
        job = _describe(found, read_names(connection))
        ids = {getattr(job.row, column): noun for column, noun in _FILES.items() if getattr(job.row, column)}
        living = read_living_files(connection, ids, job.read_at)
        failures = read_failures(connection, job.row, 20)
        files = {noun: living[file_id] for file_id, noun in ids.items() if file_id in living}
        return JobDetail(job, count_begun(connection, job_id), failures, files)


def read_file(ledger: Ledger, row: FileRow) -> bytes:
    """All that is in a file; whoever asks bounds its size before."""
    content, parts = FileContent(ledger.database.engine, row), list[bytes]()
    while (part := content.read(len(parts))) is not None:
        parts.append(part)
    return b"".join(parts)


def _describe(found: Named, names: Mapping[str, str]) -> BatchJob:
    row, filename = found
    return BatchJob(row, filename, names.get(row.key_id, row.key_id) if row.key_id else None, now_ms())

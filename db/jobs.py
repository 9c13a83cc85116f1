"""Batch jobs: made, listed by tenant, claimed under a lease, moved from one status to the next by whoever holds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, insert, or_, select, update

from db.files import Page, turn
from db.tables_batch import jobs

UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")
"""Statuses in which somebody has work to do."""


class LeaseLost(Exception):
    """Another worker took the job up: nothing may be written for it here any more."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as stored; ``metadata``, ``labels`` and ``errors`` are JSON, times epoch milliseconds."""

    id: str
    tenant: str
    key_id: str | None
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str
    created_at: int
    expires_at: int
    metadata: str | None = None
    labels: str | None = None
    max_cost_nusd: int | None = None
    dearest_nusd: int | None = None
    output_lives_s: int | None = None
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: str | None = None
    spent_nusd: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    claims: int = 0
    falls: int = 0
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    worker: str | None = None
    leased_until: int | None = None

    @property
    def cost_nusd(self) -> int | None:
        """What its lines' calls cost as far as known; None where lines were answered and no cost is known."""
        unknown = self.completed and self.dearest_nusd is None and not self.spent_nusd
        return None if unknown else self.spent_nusd


@dataclass(frozen=True, slots=True)
class Sums:
    """Lines that ended, and what they cost; a line refused at no cost does not tell what others cost."""

    completed: int = 0
    failed: int = 0
    cost_nusd: int = 0
    dearest_nusd: int | None = None


_COLUMNS = [jobs.c[field.name] for field in fields(JobRow)]


def insert_job(connection: Connection, row: JobRow) -> None:
    """Add a job."""
    connection.execute(insert(jobs).values(asdict(row)))


def find_job(connection: Connection, tenant: str, job_id: str) -> JobRow | None:
    """One job of a tenant."""
    query = select(*_COLUMNS).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    found = connection.execute(query).mappings().first()
    return None if found is None else JobRow(**found)


def list_jobs(connection: Connection, tenant: str, page: Page) -> list[JobRow]:
    """Jobs of a tenant in the order they were made."""
    query = turn(select(*_COLUMNS).where(jobs.c.tenant == tenant), jobs.c.id, page)
    return [JobRow(**row) for row in connection.execute(query).mappings()]


def request_cancel(connection: Connection, tenant: str, job_id: str, now_ms: int) -> bool:
    """Ask for the end of a job that has not come to its results yet; whether that was possible."""
    mine = and_(jobs.c.id == job_id, jobs.c.tenant == tenant, jobs.c.status.in_(("validating", "in_progress")))
    return connection.execute(update(jobs).where(mine).values(status="cancelling", cancelling_at=now_ms)).rowcount == 1


def is_any_free(connection: Connection, now_ms: int) -> bool:
    """Whether there is an unfinished job that nobody holds."""
    return connection.scalar(_find_free(now_ms)) is not None


def claim_job(connection: Connection, worker: str, now_ms: int, lease_ms: int) -> JobRow | None:
    """The next unfinished job that nobody holds, now held by this worker."""
    job_id = connection.scalar(_find_free(now_ms).with_for_update(skip_locked=True, of=jobs))
    if job_id is None:
        return None
    held = {"worker": worker, "leased_until": now_ms + lease_ms, "claims": jobs.c.claims + 1, "falls": jobs.c.falls + 1}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(held))
    return JobRow(**connection.execute(select(*_COLUMNS).where(jobs.c.id == job_id)).mappings().one())


def change_job(connection: Connection, job: JobRow, **values: Any) -> JobRow:
    """Write to a job this worker holds, and return it as it is now. Raises ``LeaseLost``."""
    held = _is_held(job)
    if connection.execute(update(jobs).where(held).values(values)).rowcount != 1:
        raise LeaseLost(job.id)
    return JobRow(**connection.execute(select(*_COLUMNS).where(jobs.c.id == job.id)).mappings().one())


def begin_job(connection: Connection, job: JobRow, **values: Any) -> JobRow:
    """Move a job from validating to in progress, unless its end was asked for meanwhile. Raises ``LeaseLost``."""
    connection.execute(update(jobs).where(_is_held(job), jobs.c.status == "validating").values(status="in_progress"))
    return change_job(connection, job, **values)


def count_lines(connection: Connection, job: JobRow, sums: Sums, **values: Any) -> JobRow:
    """Add lines that ended and what they cost to the job's sums. Raises ``LeaseLost``."""
    added = {"completed": jobs.c.completed + sums.completed, "failed": jobs.c.failed + sums.failed}
    known = [cost for cost in (job.dearest_nusd, sums.dearest_nusd) if cost is not None]
    added |= {"spent_nusd": jobs.c.spent_nusd + sums.cost_nusd}
    return change_job(connection, job, **added, dearest_nusd=max(known, default=None), **values)


def _find_free(now_ms: int) -> Select[tuple[str]]:
    """Of the tenant with the fewest jobs at work, the oldest job: nobody's hundred jobs make another's one wait."""
    free = or_(jobs.c.leased_until.is_(None), jobs.c.leased_until <= now_ms)
    other = jobs.alias()
    held = and_(other.c.tenant == jobs.c.tenant, other.c.status.in_(UNFINISHED), other.c.leased_until > now_ms)
    at_work = select(func.count()).select_from(other).where(held).correlate(jobs).scalar_subquery()
    return select(jobs.c.id).where(jobs.c.status.in_(UNFINISHED), free).order_by(at_work, jobs.c.id).limit(1)


def _is_held(job: JobRow) -> ColumnElement[bool]:
    return and_(jobs.c.id == job.id, jobs.c.claims == job.claims, jobs.c.status.in_(UNFINISHED))

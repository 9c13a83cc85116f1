"""Batch jobs of every tenant, as the console reads them: the list, one job, its lines that failed, its files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields

from sqlalchemy import Connection, RowMapping, Select, and_, func, or_, select

from db.files import FileRow, Page, turn
from db.job_lines import LineOutcome
from db.jobs import UNFINISHED, JobRow
from db.tables_batch import files, job_lines, jobs

_COLUMNS = [jobs.c[field.name] for field in fields(JobRow)]
_OUTCOME = [job_lines.c[field.name] for field in fields(LineOutcome)]

Named = tuple[JobRow, str | None]
"""A job, and the name its input file was sent under while that file is there."""


def list_all_jobs(connection: Connection, statuses: Collection[str], page: Page) -> list[Named]:
    """Jobs in the order they were made; with no statuses, those of every status."""
    query = _select_named()
    if statuses:
        query = query.where(jobs.c.status.in_(statuses))
    return [_name(row) for row in connection.execute(turn(query, jobs.c.id, page)).mappings()]


def read_job(connection: Connection, job_id: str) -> Named | None:
    """One job, whoever it belongs to."""
    found = connection.execute(_select_named().where(jobs.c.id == job_id)).mappings().first()
    return None if found is None else _name(found)


def is_any_unfinished(connection: Connection) -> bool:
    """Whether somebody has work to do."""
    return connection.scalar(select(jobs.c.id).where(jobs.c.status.in_(UNFINISHED)).limit(1)) is not None


def count_begun(connection: Connection, job_id: str) -> int:
    """How many lines of a job are out now."""
    begun = and_(job_lines.c.job_id == job_id, job_lines.c.state == "begun")
    return int(connection.scalar(select(func.count()).where(begun)) or 0)


def read_failed_lines(connection: Connection, job_id: str, limit: int) -> list[LineOutcome]:
    """The first lines that failed, while the job's lines are there."""
    failed = and_(job_lines.c.job_id == job_id, job_lines.c.state == "failed")
    query = select(*_OUTCOME).where(failed).order_by(job_lines.c.number).limit(limit)
    return [LineOutcome(**row) for row in connection.execute(query).mappings()]


def read_living_files(connection: Connection, file_ids: Iterable[str], now_ms: int) -> Mapping[str, FileRow]:
    """Files by id, of whichever tenant; one that is deleted, or whose time is over, is left out."""
    lives = or_(files.c.expires_at.is_(None), files.c.expires_at > now_ms)
    query = select(files).where(files.c.id.in_(list(file_ids)), lives)
    return {row["id"]: FileRow(**row) for row in connection.execute(query).mappings()}


def _select_named() -> Select[tuple[object, ...]]:
    return select(*_COLUMNS, files.c.filename).join(files, files.c.id == jobs.c.input_file_id, isouter=True)


def _name(row: RowMapping) -> Named:
    return JobRow(**{column.name: row[column.name] for column in _COLUMNS}), row["filename"]

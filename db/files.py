"""Files of batch jobs: kept, listed by tenant, read, deleted; one of another tenant, or expired, is not there."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, or_, select

from db.tables_batch import files as _files


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file without its content; ``size`` in bytes, times in epoch milliseconds."""

    id: str
    tenant: str
    key_id: str | None
    filename: str
    purpose: str
    size: int
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: rows after an id, newest first unless ``ascending``."""

    limit: int
    after: str | None = None
    ascending: bool = False


_COLUMNS = [_files.c[field.name] for field in fields(FileRow)]


def insert_file(connection: Connection, row: FileRow, content: bytes) -> None:
    """Keep a file."""
    values = {field.name: getattr(row, field.name) for field in fields(FileRow)}
    connection.execute(insert(_files).values(values | {"content": content}))


def find_file(connection: Connection, tenant: str, file_id: str, now_ms: int) -> FileRow | None:
    """One file of a tenant."""
    query = select(*_COLUMNS).where(_files.c.id == file_id, _lives(tenant, now_ms))
    found = connection.execute(query).mappings().first()
    return None if found is None else FileRow(**found)


def list_files(connection: Connection, tenant: str, purpose: str | None, page: Page, now_ms: int) -> list[FileRow]:
    """Files of a tenant in the order they were made; ids are made so that they sort by time."""
    query = select(*_COLUMNS).where(_lives(tenant, now_ms))
    if purpose is not None:
        query = query.where(_files.c.purpose == purpose)
    return [FileRow(**row) for row in connection.execute(turn(query, _files.c.id, page)).mappings()]


def read_content(connection: Connection, file_id: str) -> bytes | None:
    """What is in a file, whoever it belongs to."""
    content: bytes | None = connection.scalar(select(_files.c.content).where(_files.c.id == file_id))
    return content


def delete_file(connection: Connection, tenant: str, file_id: str) -> bool:
    """Delete a file of a tenant; whether there was one."""
    query = delete(_files).where(_files.c.id == file_id, _files.c.tenant == tenant)
    return connection.execute(query).rowcount == 1


def delete_expired(connection: Connection, now_ms: int) -> int:
    """Delete every file whose time is over; how many."""
    return connection.execute(delete(_files).where(_files.c.expires_at <= now_ms)).rowcount


def turn(query: Select[tuple[object, ...]], column: ColumnElement[str], page: Page) -> Select[tuple[object, ...]]:
    """The query for one page of rows whose ids sort by time."""
    if page.after is not None:
        query = query.where(column > page.after if page.ascending else column < page.after)
    return query.order_by(column if page.ascending else column.desc()).limit(page.limit)


def _lives(tenant: str, now_ms: int) -> ColumnElement[bool]:
    return (_files.c.tenant == tenant) & or_(_files.c.expires_at.is_(None), _files.c.expires_at > now_ms)

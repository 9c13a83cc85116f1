"""Files of batch jobs: kept, listed by tenant, read, deleted; one of another tenant, or expired, is not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, or_, select

from db.tables_batch import file_parts
from db.tables_batch import files as _files

PART_BYTES = 4_000_000
"""How much of a file is written and read at once."""


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


def insert_file(connection: Connection, row: FileRow) -> None:
    """Keep a file; its parts are written apart."""
    connection.execute(insert(_files).values({field.name: getattr(row, field.name) for field in fields(FileRow)}))


def insert_part(connection: Connection, file_id: str, number: int, content: bytes) -> None:
    """Write one part of a file; parts are numbered from 0."""
    connection.execute(insert(file_parts).values(file_id=file_id, number=number, content=content))


def cut_parts(content: bytes) -> Iterator[bytes]:
    """A whole content in parts."""
    return (content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES))


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


def read_part(connection: Connection, file_id: str, number: int) -> bytes | None:
    """One part of a file, whoever it belongs to; None after the last."""
    here = (file_parts.c.file_id == file_id) & (file_parts.c.number == number)
    content: bytes | None = connection.scalar(select(file_parts.c.content).where(here))
    return content


def read_parts(connection: Connection, file_id: str) -> Iterator[bytes]:
    """All parts of a file, one after the other."""
    number = 0
    while (part := read_part(connection, file_id, number)) is not None:
        yield part
        number += 1


def sum_sizes(connection: Connection, tenant: str, now_ms: int) -> int:
    """Bytes in all files of a tenant."""
    return int(connection.scalar(select(func.coalesce(func.sum(_files.c.size), 0)).where(_lives(tenant, now_ms))) or 0)


def delete_file(connection: Connection, tenant: str, file_id: str) -> bool:
    """Delete a file of a tenant; whether there was one."""
    query = delete(_files).where(_files.c.id == file_id, _files.c.tenant == tenant)
    deleted = connection.execute(query).rowcount == 1
    if deleted:
        delete_parts(connection, [file_id])
    return deleted


def delete_parts(connection: Connection, file_ids: Iterable[str]) -> None:
    """Delete what was written of files."""
    connection.execute(delete(file_parts).where(file_parts.c.file_id.in_(list(file_ids))))


def delete_expired(connection: Connection, now_ms: int) -> int:
    """Delete every file whose time is over; how many."""
    over = _files.c.expires_at <= now_ms
    connection.execute(delete(file_parts).where(file_parts.c.file_id.in_(select(_files.c.id).where(over))))
    return connection.execute(delete(_files).where(over)).rowcount


def turn(query: Select[tuple[object, ...]], column: ColumnElement[str], page: Page) -> Select[tuple[object, ...]]:
    """The query for one page of rows whose ids sort by time."""
    if page.after is not None:
        query = query.where(column > page.after if page.ascending else column < page.after)
    return query.order_by(column if page.ascending else column.desc()).limit(page.limit)


def _lives(tenant: str, now_ms: int) -> ColumnElement[bool]:
    return (_files.c.tenant == tenant) & or_(_files.c.expires_at.is_(None), _files.c.expires_at > now_ms)

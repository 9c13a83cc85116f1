"""OpenAI's file objects: uploaded for a batch or made by one, seen by their tenant only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from backend.batch.form import Form
from backend.batch.wire import DAY_MS, make_id, no_such, now_ms, read_lifetime, read_page, seconds, show_list
from backend.call import Identity
from backend.errors import BadRequest, BodyTooLarge
from db import files as rows
from db.engine import Engine, reading, writing
from db.files import FileRow

PURPOSE, RESULT = "batch", "batch_output"
_MOST_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class Files:
    """The files of every tenant; each method sees those of one."""

    engine: Engine

    def keep(self, owner: Identity, form: Form, keep_days: float, most_bytes: float = inf) -> dict[str, Any]:
        """Keep an upload; raises ``BadRequest``, ``BodyTooLarge`` when the tenant's files came to ``most_bytes``."""
        if form.content is None:
            raise BadRequest("Missing required parameter: 'file'.", param="file")
        if form.fields.get("purpose") != PURPOSE:
            raise BadRequest(f"purpose must be {PURPOSE!r}: files serve batch jobs here.", param="purpose")
        lives_s = _read_lifetime(form.fields)
        row = make_row(owner, form.filename, PURPOSE, lifetime_ms(lives_s, keep_days), len(form.content))
        with writing(self.engine) as connection:
            if rows.sum_sizes(connection, owner.tenant, row.created_at) + row.size > most_bytes:
                text = f"Your files would be more than {most_bytes / 1_000_000:g} MB: delete some that are done with."
                raise BodyTooLarge(text, param="file")
            rows.insert_file(connection, row)
            for number, part in enumerate(rows.cut_parts(form.content)):
                rows.insert_part(connection, row.id, number, part)
        return describe_file(row)

    def list(self, owner: Identity, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of files, newest first; raises ``BadRequest``."""
        page = read_page(query, _MOST_LISTED, _MOST_LISTED)
        with reading(self.engine) as connection:
            found = rows.list_files(connection, owner.tenant, query.get("purpose"), page, now_ms())
        return show_list([describe_file(row) for row in found], page)

    def retrieve(self, owner: Identity, file_id: str) -> dict[str, Any]:
        """One file; raises ``NotFound``."""
        return describe_file(self._find(owner, file_id))

    def open(self, owner: Identity, file_id: str) -> FileContent:
        """A file to be read part by part; raises ``NotFound``."""
        return FileContent(self.engine, self._find(owner, file_id))

    def delete(self, owner: Identity, file_id: str) -> dict[str, Any]:
        """Delete a file; raises ``NotFound``."""
        self._find(owner, file_id)
        with writing(self.engine) as connection:
            deleted = rows.delete_file(connection, owner.tenant, file_id)
        if not deleted:
            raise no_such("File", file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    def _find(self, owner: Identity, file_id: str) -> FileRow:
        with reading(self.engine) as connection:
            row = rows.find_file(connection, owner.tenant, file_id, now_ms())
        if row is None:
            raise no_such("File", file_id)
        return row


@dataclass(frozen=True, slots=True)
class FileContent:
    """What is in a file, read a few megabytes at a time."""

    engine: Engine
    row: FileRow

    def read(self, number: int) -> bytes | None:
        """The part of a number, counted from 0; None after the last."""
        with reading(self.engine) as connection:
            return rows.read_part(connection, self.row.id, number)


def make_row(owner: Identity, filename: str, purpose: str, lives_ms: int, size: int) -> FileRow:
    """A file made now; its name is made printable."""
    name = "".join(letter for letter in filename if letter.isprintable())[:255] or "upload"
    at = now_ms()
    return FileRow(make_id("file-"), owner.tenant, owner.key_id, name, purpose, size, at, at + lives_ms)


def lifetime_ms(lives_s: int | None, keep_days: float) -> int:
    """How long a file lives: what its owner said, else the settings' days."""
    return int(keep_days * DAY_MS) if lives_s is None else lives_s * 1000


def describe_file(row: FileRow) -> dict[str, Any]:
    """A file as OpenAI shows it."""
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.size,
        "created_at": seconds(row.created_at),
        "expires_at": seconds(row.expires_at),
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
    }


def _read_lifetime(fields: Mapping[str, str]) -> int | None:
    lives_s = fields.get("expires_after[seconds]")
    number = int(lives_s[:12]) if lives_s is not None and lives_s.isdecimal() else lives_s
    return read_lifetime(fields.get("expires_after[anchor]"), number)

"""OpenAI's batch objects: made of an uploaded file, listed, cancelled, seen by their tenant only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from backend.batch.files import PURPOSE
from backend.batch.lines import ENDPOINTS
from backend.batch.wire import DAY_MS, make_id, no_such, now_ms, read_lifetime, read_page, seconds, show_list
from backend.call import Identity, new_id
from backend.errors import BadRequest, Conflict
from backend.settings.signature import Signature
from db import files, jobs
from db.audit import AuditRow, insert_act
from db.engine import Connection, Engine, reading, writing
from db.job_reads import read_job
from db.jobs import JobRow

WINDOW = "24h"
MAX_COST = "governor_max_cost_usd"
"""The entry of a batch's metadata that bounds what its calls may cost, in US dollars."""

_TIMES = "in_progress_at expires_at finalizing_at completed_at failed_at expired_at cancelling_at cancelled_at"
_DEFAULT_LISTED, _MOST_LISTED = 20, 100
_MOST_PAIRS, _LONGEST_NAME, _LONGEST_VALUE = 16, 64, 512


@dataclass(frozen=True, slots=True)
class Jobs:
    """The batches of every tenant; each method sees those of one."""

    engine: Engine

    def create(self, owner: Identity, asked: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
        """Make a batch of a file; raises ``BadRequest``, or ``NotFound`` for the file.

        ``labels`` are the headers that say whom its calls are for.
        """
        file_id, created_at = _read_text(asked, "input_file_id"), now_ms()
        metadata = _read_metadata(asked.get("metadata"))
        row = JobRow(
            id=make_id("batch_"),
            tenant=owner.tenant,
            key_id=owner.key_id,
            endpoint=_read_choice(asked, "endpoint", tuple(ENDPOINTS)),
            input_file_id=file_id,
            completion_window=_read_choice(asked, "completion_window", (WINDOW,)),
            status="validating",
            created_at=created_at,
            expires_at=created_at + DAY_MS,
            metadata=None if metadata is None else orjson.dumps(metadata).decode(),
            labels=orjson.dumps(dict(labels)).decode(),
            max_cost_nusd=_read_max_cost(metadata or {}),
            output_lives_s=_read_output_lifetime(asked.get("output_expires_after")),
        )
        with writing(self.engine) as connection:
            found = files.find_file(connection, owner.tenant, file_id, created_at)
            if found is None:
                raise no_such("File", file_id)
            if found.purpose != PURPOSE:
                raise BadRequest(
                    "The input file must have been uploaded with the purpose batch.", param="input_file_id"
                )
            jobs.insert_job(connection, row)
        return describe_job(row)

    def list(self, owner: Identity, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of batches, newest first; raises ``BadRequest``."""
        page = read_page(query, _DEFAULT_LISTED, _MOST_LISTED)
        with reading(self.engine) as connection:
            found = jobs.list_jobs(connection, owner.tenant, page)
        return show_list([describe_job(row) for row in found], page)

    def retrieve(self, owner: Identity, job_id: str) -> dict[str, Any]:
        """One batch; raises ``NotFound``."""
        with reading(self.engine) as connection:
            row = jobs.find_job(connection, owner.tenant, job_id)
        if row is None:
            raise no_such("Batch", job_id)
        return describe_job(row)

    def cancel(self, owner: Identity, job_id: str) -> dict[str, Any]:
        """Ask for the end of a batch; raises ``NotFound``, or ``Conflict`` when it is at its end already."""
        with writing(self.engine) as connection:
            return describe_job(_end(connection, owner.tenant, job_id))


def cancel_job(engine: Engine, job_id: str, by: Signature) -> None:
    """Ask for the end of whichever tenant's batch, under the rules of ``Jobs.cancel``; audited."""
    with writing(engine) as connection:
        found = read_job(connection, job_id)
        if found is None:
            raise no_such("Batch", job_id)
        row = _end(connection, found[0].tenant, job_id)
        changes = {"tenant": row.tenant, "completed": row.completed, "failed": row.failed, "total": row.total}
        said = orjson.dumps(changes).decode()
        insert_act(connection, AuditRow(new_id(), now_ms(), by.actor, "batch.cancel", job_id, by.reason, said))


def _end(connection: Connection, tenant: str, job_id: str) -> JobRow:
    jobs.request_cancel(connection, tenant, job_id, now_ms())
    row = jobs.find_job(connection, tenant, job_id)
    if row is None:
        raise no_such("Batch", job_id)
    if row.status != "cancelling":
        raise Conflict(f"Cannot cancel a batch with status '{row.status}'.")
    return row


def describe_job(row: JobRow) -> dict[str, Any]:
    """A batch as OpenAI shows it."""
    return {
        "id": row.id,
        "object": "batch",
        "endpoint": row.endpoint,
        "model": row.model,
        "errors": None if row.errors is None else orjson.loads(row.errors),
        "input_file_id": row.input_file_id,
        "completion_window": row.completion_window,
        "status": row.status,
        "output_file_id": row.output_file_id,
        "error_file_id": row.error_file_id,
        "created_at": seconds(row.created_at),
        **{name: seconds(getattr(row, name)) for name in _TIMES.split()},
        "request_counts": {"total": row.total, "completed": row.completed, "failed": row.failed},
        "metadata": None if row.metadata is None else orjson.loads(row.metadata),
        "governor": {"cost_nusd": row.cost_nusd, "max_cost_nusd": row.max_cost_nusd},
    }


def _read_text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None:
        raise BadRequest(f"Missing required parameter: {name!r}.", param=name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string.", param=name)
    return value


def _read_choice(asked: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _read_text(asked, name)
    if value not in choices:
        shown = ", ".join(repr(choice) for choice in choices)
        raise BadRequest(f"Invalid value: {value[:80]!r}. Supported values are: {shown}.", param=name)
    return value


def _read_metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or len(metadata) > _MOST_PAIRS:
        raise BadRequest(f"metadata must be an object of at most {_MOST_PAIRS} pairs.", param="metadata")
    for name, value in metadata.items():
        if len(name) > _LONGEST_NAME or not isinstance(value, str) or len(value) > _LONGEST_VALUE:
            text = f"metadata holds texts: names to {_LONGEST_NAME}, values to {_LONGEST_VALUE} characters."
            raise BadRequest(text, param="metadata")
    return metadata


def _read_max_cost(metadata: Mapping[str, str]) -> int | None:
    """The budget in nano-dollars."""
    said = metadata.get(MAX_COST)
    if said is None:
        return None
    try:
        dollars = Decimal(said)
    except InvalidOperation:
        dollars = Decimal(-1)
    if not dollars.is_finite() or not 0 <= dollars <= 1_000_000_000:
        raise BadRequest(f"metadata.{MAX_COST} must be a number of dollars.", param="metadata")
    return int(dollars * 1_000_000_000)


def _read_output_lifetime(said: Any) -> int | None:
    if said is None:
        return None
    if not isinstance(said, dict):
        raise BadRequest("output_expires_after must be an object.", param="output_expires_after")
    return read_lifetime(said.get("anchor"), said.get("seconds"))

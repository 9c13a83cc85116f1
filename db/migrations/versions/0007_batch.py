"""Batch jobs: files, jobs with their lease, the lines under way."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Text

revision = "0007"
down_revision = "0006"

TIMES = "in_progress_at expires_at finalizing_at completed_at failed_at expired_at cancelling_at cancelled_at"


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]


def upgrade() -> None:
    _create_files()
    _create_jobs()
    _create_lines()


def downgrade() -> None:
    for table in ("job_lines", "jobs", "file_parts", "files"):
        op.drop_table(table)


def _create_files() -> None:
    op.create_table(
        "files",
        Column("id", String(64), primary_key=True),
        Column("tenant", Text, nullable=False),
        Column("key_id", Text),
        *columns(Text, "filename purpose", nullable=False),
        *columns(BigInteger, "size created_at", nullable=False),
        Column("expires_at", BigInteger),
    )
    op.create_index("files_by_tenant", "files", ["tenant", "id"])
    op.create_index("files_by_expiry", "files", ["expires_at"])
    op.create_table(
        "file_parts",
        Column("file_id", String(64), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("content", LargeBinary, nullable=False),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        Column("id", String(64), primary_key=True),
        Column("tenant", Text, nullable=False),
        Column("key_id", Text),
        *columns(Text, "endpoint input_file_id completion_window", nullable=False),
        Column("status", String(12), nullable=False),
        *columns(Text, "model output_file_id error_file_id metadata labels errors"),
        *columns(BigInteger, "max_cost_nusd dearest_nusd output_lives_s"),
        *columns(BigInteger, "spent_nusd total completed failed claims falls", nullable=False, server_default="0"),
        Column("created_at", BigInteger, nullable=False),
        *columns(BigInteger, TIMES),
        Column("worker", Text),
        Column("leased_until", BigInteger),
    )
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "id"])
    op.create_index("jobs_by_status", "jobs", ["status", "id"])


def _create_lines() -> None:
    op.create_table(
        "job_lines",
        Column("job_id", String(64), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("custom_id", Text, nullable=False),
        Column("state", String(12), nullable=False),
        Column("tries", Integer, nullable=False, server_default="0"),
        Column("call_id", String(36)),
        Column("status_code", Integer),
        *columns(BigInteger, "bound_nusd reserved_nusd"),
        Column("body", LargeBinary, nullable=False),
        Column("answer", LargeBinary),
    )
    op.create_index("job_lines_by_state", "job_lines", ["job_id", "state", "number"])

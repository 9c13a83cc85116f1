"""The tables of batch jobs: uploaded and resulting files, jobs with their lease, the lines under way.

Lines live as long as their job is unfinished: what became of them is then in the job's output and error files.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from db.declare import columns as _columns
from db.declare import metadata

_TIMES = "in_progress_at expires_at finalizing_at completed_at failed_at expired_at cancelling_at cancelled_at"


files = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    *_columns(Text, "filename purpose", nullable=False),
    *_columns(BigInteger, "size created_at", nullable=False),
    Column("expires_at", BigInteger),
)
Index("files_by_tenant", files.c.tenant, files.c.id)
Index("files_by_expiry", files.c.expires_at)

file_parts = Table(
    "file_parts",
    metadata,
    Column("file_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)
"""What is in a file, cut into parts: a file may be larger than a value may be in either database."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    *_columns(Text, "endpoint input_file_id completion_window", nullable=False),
    Column("status", String(12), nullable=False),
    *_columns(Text, "model output_file_id error_file_id metadata labels errors"),
    *_columns(BigInteger, "max_cost_nusd dearest_nusd output_lives_s"),
    *_columns(BigInteger, "spent_nusd total completed failed claims falls", nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    *_columns(BigInteger, _TIMES),
    Column("worker", Text),
    Column("leased_until", BigInteger),
)
"""One batch each. ``claims`` counts who took it up: whoever holds an older count may no longer write.

``falls`` counts claims since the job last went on; ``dearest_nusd`` is what its dearest line so far cost.
"""
Index("jobs_by_tenant", jobs.c.tenant, jobs.c.id)
Index("jobs_by_status", jobs.c.status, jobs.c.id)

job_lines = Table(
    "job_lines",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("custom_id", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("call_id", String(36)),
    Column("status_code", Integer),
    *_columns(BigInteger, "bound_nusd reserved_nusd"),
    Column("body", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
)
"""A line is ``waiting``, ``begun`` (written before it goes out), ``completed`` or ``failed``.

``bound_nusd`` is the most its call can cost, ``reserved_nusd`` what was set aside when it was begun.
"""
Index("job_lines_by_state", job_lines.c.job_id, job_lines.c.state, job_lines.c.number)

"""Local engines: wanted and actual state, events, samples, sweeps."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Text, text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _create_engines()
    op.create_table(
        "engine_samples",
        Column("engine", Text, primary_key=True),
        Column("at", BigInteger, primary_key=True, autoincrement=False),
        Column("figures", Text, nullable=False),
    )
    op.create_index("engine_samples_by_time", "engine_samples", ["at"])
    op.create_table(
        "sweeps",
        Column("id", String(36), primary_key=True),
        Column("engine", Text, nullable=False),
        Column("state", String(12), nullable=False),
        Column("plan", Text, nullable=False),
        Column("progress", Double, nullable=False, server_default="0"),
        *columns(Text, "results message"),
        *columns(Text, "actor reason", nullable=False),
        Column("created_at", BigInteger, nullable=False),
        *columns(BigInteger, "started_at ended_at"),
        Column("cancel_wanted", Boolean, nullable=False, server_default=text("false")),
    )
    op.create_index("sweeps_by_time", "sweeps", ["created_at"])


def _create_engines() -> None:
    op.create_table(
        "engines",
        Column("name", Text, primary_key=True),
        Column("wanted", String(12), nullable=False),
        *columns(Text, "request actor reason", nullable=False),
        Column("wanted_at", BigInteger, nullable=False),
        Column("state", String(12), nullable=False, server_default="stopped"),
        *columns(Text, "message keeper launched pid_space"),
        Column("pid", Integer),
        Column("pid_started_at", BigInteger),
        Column("port", Integer),
        *columns(BigInteger, "state_at heartbeat_at ready_at due_at"),
        Column("restarts", Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "engine_events",
        Column("id", String(36), primary_key=True),
        Column("engine", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("kind", String(16), nullable=False),
        *columns(Text, "message actor reason", nullable=False),
        *columns(Text, "changes before after"),
    )
    op.create_index("engine_events_by_time", "engine_events", ["at", "engine"])


def downgrade() -> None:
    for table in ("sweeps", "engine_samples", "engine_events", "engines"):
        op.drop_table(table)


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]

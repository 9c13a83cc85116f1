"""Rollups: sums and latency counts per hour and per day."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0002"
down_revision = "0001"

DIMENSIONS = "model deployment provider key_id feature department environment origin cache_kind status"
MEASURES = (
    "calls failed refused cancelled unpriced estimated prompt_tokens cached_tokens cache_write_tokens "
    "completion_tokens reasoning_tokens cost_nusd baseline_nusd saved_nusd saved_cache_nusd saved_routing_nusd "
    "saved_compression_nusd saved_prefix_nusd saved_batch_nusd"
)
GRAINS = (("", "hour_at"), ("daily_", "day_at"))


def upgrade() -> None:
    for prefix, at in GRAINS:
        create_sums(f"{prefix}rollups", at, DIMENSIONS)
        create_sums(f"{prefix}user_rollups", at, "user model")
        create_latency(f"{prefix}latency_rollups", at)


def downgrade() -> None:
    for prefix, _ in GRAINS:
        for name in ("latency_rollups", "user_rollups", "rollups"):
            op.drop_table(f"{prefix}{name}")


def texts(names: str) -> list[Column[Any]]:
    return [Column(name, Text, primary_key=True, server_default="") for name in names.split()]


def create_sums(name: str, at: str, dimensions: str) -> None:
    sums = [Column(each, BigInteger, nullable=False, server_default="0") for each in MEASURES.split()]
    start = Column(at, BigInteger, primary_key=True, autoincrement=False)
    op.create_table(name, start, *texts(dimensions), *sums, sqlite_with_rowid=False)


def create_latency(name: str, at: str) -> None:
    op.create_table(
        name,
        Column("measure", Text, primary_key=True),
        Column(at, BigInteger, primary_key=True, autoincrement=False),
        *texts("model deployment cache_kind"),
        Column("bucket", Integer, primary_key=True, autoincrement=False),
        Column("calls", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )

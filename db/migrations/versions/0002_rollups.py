"""Rollups: sums and latency counts per hour and per day."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0002"
down_revision = "0001"

DIMENSIONS = "model deployment provider key_id feature department environment origin cache_kind status rule"
MEASURES = (
    "calls failed refused cancelled unpriced estimated cache_hits cache_lookups prompt_tokens cached_tokens "
    "cache_write_tokens completion_tokens reasoning_tokens cost_nusd baseline_nusd saved_nusd saved_cache_nusd "
    "saved_routing_nusd saved_compression_nusd saved_prefix_nusd saved_batch_nusd"
)
GRAINS = (("", "hour_at"), ("daily_", "day_at"))


def upgrade() -> None:
    for prefix, at in GRAINS:
        create_table(f"{prefix}rollups", start(at), *texts(DIMENSIONS), *sums())
        create_table(f"{prefix}dimension_rollups", key("dimension"), start(at), key("value"), *sums())
        create_latency(f"{prefix}latency_rollups", at, "model deployment cache_kind")
        create_latency(f"{prefix}latency_totals", at, "cache_kind")


def downgrade() -> None:
    for prefix, _ in GRAINS:
        for name in ("latency_totals", "latency_rollups", "dimension_rollups", "rollups"):
            op.drop_table(f"{prefix}{name}")


def texts(names: str) -> list[Column[Any]]:
    return [Column(name, Text, primary_key=True, server_default="") for name in names.split()]


def key(name: str) -> Column[Any]:
    return Column(name, Text, primary_key=True)


def start(at: str) -> Column[Any]:
    return Column(at, BigInteger, primary_key=True, autoincrement=False)


def sums() -> list[Column[Any]]:
    return [Column(each, BigInteger, nullable=False, server_default="0") for each in MEASURES.split()]


def create_latency(name: str, at: str, dimensions: str) -> None:
    bucket = Column("bucket", Integer, primary_key=True, autoincrement=False)
    calls = Column("calls", BigInteger, nullable=False)
    create_table(name, key("measure"), start(at), *texts(dimensions), bucket, calls)


def create_table(name: str, *columns: Column[Any]) -> None:
    op.create_table(name, *columns, sqlite_with_rowid=False)

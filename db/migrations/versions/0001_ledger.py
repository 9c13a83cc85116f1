"""The ledger: calls, attempts, captured payloads, spool positions, quarantine."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, String, Text, text

revision = "0001"
down_revision = None

OPEN = text("state = 'open'")


def upgrade() -> None:
    create_calls()
    create_attempts()
    create_payloads()
    create_spool()


def downgrade() -> None:
    for table in ("quarantine", "spool_positions", "payloads", "attempts", "calls"):
        op.drop_table(table)


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]


def create_calls() -> None:
    op.create_table(
        "calls",
        Column("id", String(36), primary_key=True),
        Column("state", String(12), nullable=False),
        Column("worker", String(64), nullable=False),
        *columns(Text, "session_id trace_id idempotency_key endpoint"),
        Column("stream", Boolean, nullable=False),
        *columns(Text, "origin tenant key_id user feature department environment tags"),
        *columns(Text, "model deployment provider served_model"),
        *columns(BigInteger, "prompt_tokens cached_tokens cache_write_tokens cache_write_1h_tokens"),
        *columns(BigInteger, "completion_tokens reasoning_tokens"),
        *columns(Text, "usage_source usage"),
        Column("cost_nusd", BigInteger),
        Column("price_id", Text),
        *columns(BigInteger, "baseline_nusd saved_nusd saved_cache_nusd saved_routing_nusd"),
        *columns(BigInteger, "saved_compression_nusd saved_prefix_nusd saved_batch_nusd"),
        Column("started_at", BigInteger, nullable=False),
        *columns(Double, "ttft_ms itl_ms latency_ms queue_ms overhead_ms embed_ms"),
        Column("cache_kind", String(12)),
        *columns(Double, "similarity similarity_threshold"),
        Column("source_call_id", String(36)),
        Column("settings_version", Integer),
        *columns(Text, "rule route_reason"),
        *columns(Double, "complexity propensity"),
        *columns(Text, "candidates experiment_id variant_id prompt_version"),
        Column("compressed_tokens", BigInteger),
        *columns(Text, "status error_code"),
        Column("http_status", Integer),
        Column("finish_reason", Text),
        Column("attempts", Integer),
        Column("notes", Text),
    )
    op.create_index("calls_by_time", "calls", ["started_at", "user"])
    op.create_index("calls_open", "calls", ["worker"], sqlite_where=OPEN, postgresql_where=OPEN)


def create_attempts() -> None:
    op.create_table(
        "attempts",
        Column("call_id", String(36), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("state", String(12), nullable=False),
        Column("worker", String(64), nullable=False),
        *columns(Text, "deployment provider model"),
        Column("started_at", BigInteger, nullable=False),
        *columns(Double, "ttft_ms latency_ms"),
        Column("http_status", Integer),
        *columns(Text, "error_code upstream_id price_id"),
        *columns(BigInteger, "reserved_nusd cost_nusd"),
    )
    op.create_index("attempts_open", "attempts", ["worker"], sqlite_where=OPEN, postgresql_where=OPEN)


def create_payloads() -> None:
    op.create_table(
        "payloads",
        Column("call_id", String(36), primary_key=True),
        *columns(LargeBinary, "request response"),
        Column("truncated", Boolean, nullable=False, server_default=text("false")),
        Column("captured_at", BigInteger, nullable=False),
    )
    op.create_index("payloads_by_time", "payloads", ["captured_at"])


def create_spool() -> None:
    op.create_table(
        "spool_positions",
        Column("segment", Text, primary_key=True),
        *columns(BigInteger, "position drained_at", nullable=False),
    )
    op.create_table(
        "quarantine",
        Column("segment", Text, primary_key=True),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("record", LargeBinary, nullable=False),
        Column("error", Text, nullable=False),
        Column("quarantined_at", BigInteger, nullable=False),
    )

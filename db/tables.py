"""Every table of the database, in SQLite's and Postgres's common ground.

Times are BIGINT epoch milliseconds (``*_at``), durations float milliseconds (``*_ms``), money BIGINT
nano-dollars (``*_nusd``, null when unknown). JSON is stored as text, bodies as bytes.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, String, Table, Text, text

import db.tables_batch
import db.tables_engine  # noqa: F401 - whoever has the metadata has every table on it
from db import declare
from db.declare import columns as _columns

metadata = declare.metadata

calls = Table(
    "calls",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("worker", String(64), nullable=False),
    *_columns(Text, "session_id trace_id idempotency_key endpoint"),
    Column("stream", Boolean, nullable=False),
    *_columns(Text, "origin tenant key_id user feature department environment tags"),
    *_columns(Text, "model deployment provider served_model"),
    *_columns(BigInteger, "prompt_tokens cached_tokens cache_write_tokens cache_write_1h_tokens"),
    *_columns(BigInteger, "completion_tokens reasoning_tokens"),
    *_columns(Text, "usage_source usage"),
    Column("cost_nusd", BigInteger),
    Column("price_id", Text),
    *_columns(BigInteger, "baseline_nusd saved_nusd saved_cache_nusd saved_routing_nusd"),
    *_columns(BigInteger, "saved_compression_nusd saved_prefix_nusd saved_batch_nusd"),
    Column("started_at", BigInteger, nullable=False),
    *_columns(Double, "ttft_ms itl_ms latency_ms queue_ms overhead_ms embed_ms"),
    Column("cache_kind", String(12)),
    *_columns(Double, "similarity similarity_threshold cache_probability"),
    Column("source_call_id", String(36)),
    Column("settings_version", Integer),
    *_columns(Text, "rule route_reason"),
    *_columns(Double, "complexity propensity"),
    *_columns(Text, "candidates experiment_id variant_id prompt_version"),
    Column("compressed_tokens", BigInteger),
    *_columns(Text, "status error_code"),
    Column("http_status", Integer),
    Column("finish_reason", Text),
    Column("attempts", Integer),
    Column("notes", Text),
)
Index("calls_by_time", calls.c.started_at, calls.c.user)  # a user's calls are found without reading those of others
Index("calls_open", calls.c.worker, sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'"))
_SEMANTIC = text("cache_kind = 'semantic'")
Index("calls_semantic", calls.c.started_at, sqlite_where=_SEMANTIC, postgresql_where=_SEMANTIC)
COMPARED = (
    "started_at cache_kind similarity cache_probability similarity_threshold cost_nusd saved_cache_nusd latency_ms"
)
"""What a page needs of calls that the semantic cache compared with another: the index answers by itself."""
_COMPARED = text("cache_probability IS NOT NULL")
_COMPARED_COLUMNS = [calls.c[name] for name in COMPARED.split()]
Index("calls_compared", *_COMPARED_COLUMNS, sqlite_where=_COMPARED, postgresql_where=_COMPARED)

attempts = Table(
    "attempts",
    metadata,
    Column("call_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(12), nullable=False),
    Column("worker", String(64), nullable=False),
    *_columns(Text, "deployment provider model"),
    Column("started_at", BigInteger, nullable=False),
    *_columns(Double, "ttft_ms latency_ms"),
    Column("http_status", Integer),
    *_columns(Text, "error_code upstream_id price_id"),
    Column("reserved_nusd", BigInteger),
    Column("cost_nusd", BigInteger),
)
Index("attempts_open", attempts.c.worker, sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'"))

MEASURES = [
    "calls",
    "failed",
    "refused",
    "cancelled",
    "unpriced",
    "estimated",
    "cache_hits",
    "cache_lookups",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_nusd",
    "baseline_nusd",
    "saved_nusd",
    "saved_cache_nusd",
    "saved_routing_nusd",
    "saved_compression_nusd",
    "saved_prefix_nusd",
    "saved_batch_nusd",
]
"""What a rollup sums; ``unpriced`` and ``estimated`` count calls, so that unknown money is never read as zero."""

ROLLUP_DIMENSIONS = [
    "model",
    "deployment",
    "provider",
    "key_id",
    "feature",
    "department",
    "environment",
    "origin",
    "cache_kind",
    "status",
    "rule",
]
SINGLE_DIMENSIONS = [*ROLLUP_DIMENSIONS, "user"]
"""What calls are summed by one at a time, apart from the combinations: a page without filters reads few rows then."""

LATENCY_DIMENSIONS = ["model", "deployment", "cache_kind"]
LATENCY_MEASURES = ["ttft_ms", "itl_ms", "latency_ms", "overhead_ms"]
LATENCY_BASE = 1.04
LATENCY_FLOOR_MS = 0.001


def _rollup(name: str, at: str) -> Table:
    keys = [Column(each, Text, primary_key=True, server_default="") for each in ROLLUP_DIMENSIONS]
    sums = [Column(each, BigInteger, nullable=False, server_default="0") for each in MEASURES]
    start = Column(at, BigInteger, primary_key=True, autoincrement=False)
    return Table(name, metadata, start, *keys, *sums, sqlite_with_rowid=False)


def _dimension_rollup(name: str, at: str) -> Table:
    """One row per dimension, time and value; the dimension ``""`` (value ``""``) sums all calls."""
    return Table(
        name,
        metadata,
        Column("dimension", Text, primary_key=True),
        Column(at, BigInteger, primary_key=True, autoincrement=False),
        Column("value", Text, primary_key=True),
        *[Column(each, BigInteger, nullable=False, server_default="0") for each in MEASURES],
        sqlite_with_rowid=False,
    )


def _latency_rollup(name: str, at: str, dimensions: list[str]) -> Table:
    return Table(
        name,
        metadata,
        Column("measure", Text, primary_key=True),
        Column(at, BigInteger, primary_key=True, autoincrement=False),
        *[Column(each, Text, primary_key=True, server_default="") for each in dimensions],
        Column("bucket", Integer, primary_key=True, autoincrement=False),
        Column("calls", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


rollups = _rollup("rollups", "hour_at")
dimension_rollups = _dimension_rollup("dimension_rollups", "hour_at")
latency_rollups = _latency_rollup("latency_rollups", "hour_at", LATENCY_DIMENSIONS)
latency_totals = _latency_rollup("latency_totals", "hour_at", ["cache_kind"])
"""Counts per bucket = floor(log(max(ms, LATENCY_FLOOR_MS)) / log(LATENCY_BASE)): percentiles are right within 2 %."""

daily_rollups = _rollup("daily_rollups", "day_at")
daily_dimension_rollups = _dimension_rollup("daily_dimension_rollups", "day_at")
daily_latency_rollups = _latency_rollup("daily_latency_rollups", "day_at", LATENCY_DIMENSIONS)
daily_latency_totals = _latency_rollup("daily_latency_totals", "day_at", ["cache_kind"])
"""The same sums per UTC day, in the same transaction: ninety days of hours are too many rows for a page."""

spool_positions = Table(
    "spool_positions",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("drained_at", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("record", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    Column("quarantined_at", BigInteger, nullable=False),
)

payloads = Table(
    "payloads",
    metadata,
    Column("call_id", String(36), primary_key=True),
    Column("request", LargeBinary),
    Column("response", LargeBinary),
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    Column("captured_at", BigInteger, nullable=False),
)
Index("payloads_by_time", payloads.c.captured_at)

cache_labels = Table(
    "cache_labels",
    metadata,
    Column("call_id", String(36), primary_key=True),
    Column("source", String(12), primary_key=True),
    *_columns(BigInteger, "at stored_at", nullable=False),
    Column("tenant", Text, nullable=False),
    Column("partition", String(32), nullable=False),
    Column("model", Text),
    *_columns(Double, "similarity probability", nullable=False),
    Column("same", Boolean, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("share", Double),
    Column("source_call_id", String(36)),
    *_columns(Text, "verifier actor note features"),
)
"""Whether a cached answer says what a fresh one says: one row per call and who judged it (``source``)."""
Index("cache_labels_by_arrival", cache_labels.c.stored_at)

cache_verifiers = Table(
    "cache_verifiers",
    metadata,
    Column("space", String(8), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    *_columns(Text, "name replaces numbers", nullable=False),
    *_columns(BigInteger, "fitted_at fitted_until labels held_out", nullable=False),
    *_columns(Double, "gain gain_low", nullable=False),
    Column("adopted", Boolean, nullable=False),
)
"""Verifiers refitted on labels, and whether they were better than the one they would replace."""

settings_versions = Table(
    "settings_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    *_columns(Text, "values changes", nullable=False),
    *_columns(Text, "actor reason", nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    *_columns(Text, "name prefix tenant", nullable=False),
    *_columns(Text, "scopes models attribution", nullable=False),
    Column("created_at", BigInteger, nullable=False),
    *_columns(BigInteger, "expires_at revoked_at"),
    *_columns(Text, "created_by revoked_by reason"),
)

prices = Table(
    "prices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("effective_from", BigInteger, nullable=False),
    *_columns(Text, "source rates", nullable=False),
    *_columns(Text, "actor reason"),
    Column("created_at", BigInteger, nullable=False),
)
Index("prices_by_model", prices.c.model, prices.c.effective_from)

revisions = Table(
    "revisions",
    metadata,
    Column("noun", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""One counter per noun (keys, prices, cache_labels), bumped in the transaction that changes it; workers poll it."""

audit = Table(
    "audit",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", BigInteger, nullable=False),
    *_columns(Text, "actor action subject reason", nullable=False),
    Column("changes", Text),
)
Index("audit_by_time", audit.c.at)

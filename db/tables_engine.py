"""The tables of local engines: what is wanted of them and how they are, their events, samples, sweeps and quality."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, String, Table, Text, text

from db.declare import columns, metadata

engines = Table(
    "engines",
    metadata,
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
"""One row per engine. People write what is wanted (running or stopped, a request, who and why), the keeper the rest:

``launched`` is the JSON of the specification the process runs with, ``pid_started_at`` the kernel's start time of it in
clock ticks and ``pid_space`` the boot and the namespace that count them, so that a process with the same number is not
taken for it; ``due_at`` is when it is started again.
"""

engine_events = Table(
    "engine_events",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("engine", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    *columns(Text, "message actor reason", nullable=False),
    *columns(Text, "changes before after"),
)
"""What happened to an engine; ``changes``, ``before`` and ``after`` are JSON, measured around an applied change."""
Index("engine_events_by_time", engine_events.c.at, engine_events.c.engine)

engine_samples = Table(
    "engine_samples",
    metadata,
    Column("engine", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("figures", Text, nullable=False),
)
"""What an engine said of itself at a moment: its own metrics and those of the GPU, as JSON."""
Index("engine_samples_by_time", engine_samples.c.at)

sweeps = Table(
    "sweeps",
    metadata,
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
"""Measurements of an engine under load: ``plan`` and ``results`` are JSON, ``progress`` runs from 0 to 1."""
Index("sweeps_by_time", sweeps.c.created_at)

engine_qualities = Table(
    "engine_qualities",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("measured_at", BigInteger, nullable=False),
    *columns(Text, "engine model quantisation dtype", nullable=False),
    Column("precision", Text),
    Column("weight_bytes", BigInteger),
    Column("reference_engine", Text),
    *columns(Text, "reference_model reference_quantisation reference_dtype", nullable=False),
    Column("reference_precision", Text),
    Column("reference_weight_bytes", BigInteger),
    Column("text_name", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    *columns(Double, "perplexity reference_perplexity agreement mean_difference", nullable=False),
)
"""Engines compared with full-precision models on a text: what their weights take, and what that costs in quality.

``reference_engine`` is null where the reference was a folder that nobody served.
"""
Index("engine_qualities_by_time", engine_qualities.c.measured_at)

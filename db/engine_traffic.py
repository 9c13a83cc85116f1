"""The recorded tries that one deployment was sent: what a changed engine is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, select

from db.tables import attempts, calls


@dataclass(frozen=True, slots=True)
class Try:
    """One closed try; ``itl_ms`` only where this deployment's answer was the call's."""

    http_status: int | None
    error_code: str | None
    ttft_ms: float | None
    itl_ms: float | None
    streamed: bool


def read_tries(connection: Connection, deployment: str, start_at: int, limit: int) -> Sequence[Try]:
    """Closed tries at a deployment of calls that began since a time (epoch ms), newest first."""
    own = case((calls.c.deployment == deployment, calls.c.itl_ms))
    tried = (attempts.c.http_status, attempts.c.error_code, attempts.c.ttft_ms)
    query = select(*tried, own.label("itl_ms"), calls.c.stream)
    query = query.join_from(calls, attempts, attempts.c.call_id == calls.c.id)
    query = query.where(calls.c.started_at >= start_at, attempts.c.deployment == deployment)
    query = query.where(attempts.c.state != "open").order_by(calls.c.started_at.desc()).limit(limit)
    return [Try(*row) for row in connection.execute(query)]

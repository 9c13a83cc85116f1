"""Token counts of recorded calls: what a load that shall look like real traffic is drawn from."""

from __future__ import annotations

from sqlalchemy import Connection, select

from db.tables import calls


def read_token_shapes(connection: Connection, deployment: str | None, limit: int) -> list[tuple[int, int]]:
    """Prompt and completion tokens of the newest answered calls, of one deployment or of all."""
    query = select(calls.c.prompt_tokens, calls.c.completion_tokens).where(
        calls.c.status == "ok", calls.c.prompt_tokens > 0, calls.c.completion_tokens > 0
    )
    if deployment is not None:
        query = query.where(calls.c.deployment == deployment)
    return [
        (prompt, completion)
        for prompt, completion in connection.execute(query.order_by(calls.c.started_at.desc()).limit(limit))
    ]

"""Removes what has had its time: captured bodies, then call rows. Rollups stay."""

from __future__ import annotations

import time
from collections.abc import Callable

from backend.settings.knobs import LedgerSettings
from db.calls import delete_calls
from db.engine import Connection, Engine
from db.failures import judged_writing
from db.payloads import delete_payloads

DAY_MS = 24 * 3_600_000
MOST_STEPS = 20
"""Transactions in one go, so that draining is never kept waiting for long."""


def remove_expired(engine: Engine, settings: LedgerSettings) -> int:
    """Remove expired payloads and calls in small committed steps; how many went. What is left goes next time.

    Raises ``DatabaseAway``.
    """
    now = time.time_ns() // 1_000_000
    payloads_before, calls_before = now - settings.capture_days * DAY_MS, now - settings.calls_days * DAY_MS
    gone = _repeat(engine, lambda connection: delete_payloads(connection, captured_before=payloads_before))
    return gone + _repeat(engine, lambda connection: delete_calls(connection, started_before=calls_before))


def _repeat(engine: Engine, delete: Callable[[Connection], int]) -> int:
    total = 0
    for _ in range(MOST_STEPS):
        with judged_writing(engine) as connection:
            gone = delete(connection)
        total += gone
        if not gone:
            break
    return total

"""Closes what nobody else will: calls of workers that died, and calls that were never closed."""

from __future__ import annotations

import time
from collections.abc import Callable

from backend.ledger.tally import Row, Tally
from db.calls import give_up_calls, give_up_calls_before
from db.engine import Connection, Engine
from db.failures import judged_writing
from db.rollups import add_to_rollups

NEVER_CLOSED_MS = 6 * 3_600_000


def give_up_worker(engine: Engine, worker: str) -> int:
    """Close as ``unknown`` every call that a dead worker left open; how many. Raises ``DatabaseAway``."""
    return _give_up_all(engine, lambda connection: give_up_calls(connection, worker=worker))


def give_up_old(engine: Engine) -> int:
    """The same for calls open for longer than six hours, whoever their worker was. Raises ``DatabaseAway``."""
    before = time.time_ns() // 1_000_000 - NEVER_CLOSED_MS
    return _give_up_all(engine, lambda connection: give_up_calls_before(connection, started_before=before))


def _give_up_all(engine: Engine, give_up: Callable[[Connection], list[Row]]) -> int:
    """In transactions of bounded size; each counts its calls in the rollups."""
    total = 0
    while True:
        with judged_writing(engine) as connection:
            rows = give_up(connection)
            tally = Tally()
            for row in rows:
                tally.add(row)
            add_to_rollups(connection, tally.sums())
        total += len(rows)
        if not rows:
            return total

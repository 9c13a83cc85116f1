"""Writes one batch in one transaction: calls, attempts, rollups, bodies, quarantine, positions."""

from __future__ import annotations

from collections.abc import Sequence

from backend.ledger.batch import Batch
from backend.ledger.redaction import Redaction
from backend.ledger.tally import Row, Tally
from db.attempts import close_attempts, open_attempts
from db.calls import close_calls, lock_closed, open_calls
from db.columns import CALL_COLUMNS
from db.engine import Connection, Engine
from db.failures import judged_writing
from db.payloads import keep_payloads
from db.quarantine import quarantine_records
from db.rollups import add_to_rollups
from db.spool_positions import move_positions

_STATE = CALL_COLUMNS.index("state")


def write_batch(engine: Engine, batch: Batch, redaction: Redaction) -> None:
    """All of it or nothing. Raises ``RowsRefused`` or ``DatabaseAway``."""
    with judged_writing(engine) as connection:
        _write_calls(connection, batch)
        open_attempts(connection, [row for key, row in batch.tried.items() if key not in batch.settled])
        close_attempts(connection, list(batch.settled.values()))
        keep_payloads(connection, [redaction.row(payload) for payload in batch.payloads])
        quarantine_records(connection, batch.broken)
        move_positions(connection, batch.positions)


def _write_calls(connection: Connection, batch: Batch) -> None:
    """A call is counted in the transaction that closes it, and only there."""
    tally = Tally()
    closing = dict(batch.closed)
    for earlier in lock_closed(connection, list(closing)):
        if earlier[_STATE] == "unknown":
            tally.take_back(earlier)
        else:
            del closing[earlier[0]]
    closed: Sequence[Row] = list(closing.values())
    for row in closed:
        tally.add(row)
    open_calls(connection, [row for id_, row in batch.opened.items() if id_ not in batch.closed])
    close_calls(connection, closed)
    add_to_rollups(connection, tally.sums())

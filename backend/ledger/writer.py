"""Writes one batch in one transaction: calls, attempts, rollups, bodies, labels, quarantine, positions."""

from __future__ import annotations

from collections.abc import Mapping

from backend.ledger.batch import Batch
from backend.ledger.redaction import Redaction
from backend.ledger.tally import Tally
from db.attempts import close_attempts, open_attempts
from db.cache_labels import REVISION, add_labels
from db.calls import UNFINISHED, close_calls, lock_calls, open_calls, read_rows
from db.engine import Connection, Engine
from db.failures import judged_writing
from db.payloads import keep_payloads
from db.quarantine import quarantine_records
from db.revisions import bump
from db.rollups import add_to_rollups
from db.spool_positions import move_positions


def write_batch(engine: Engine, batch: Batch, redaction: Redaction) -> None:
    """All of it or nothing. Raises ``RowsRefused`` or ``DatabaseAway``."""
    with judged_writing(engine) as connection:
        states = lock_calls(connection, [*batch.closed, *batch.opened])
        _write_calls(connection, batch, states)
        _write_attempts(connection, batch, states)
        keep_payloads(connection, [redaction.row(payload) for payload in batch.payloads])
        quarantine_records(connection, batch.broken)
        move_positions(connection, batch.positions)
        if batch.labels:
            add_labels(connection, list(batch.labels.values()))
            bump(connection, REVISION)


def _write_calls(connection: Connection, batch: Batch, states: Mapping[str, str]) -> None:
    """A call is counted in the transaction that closes it, and only there."""
    tally = Tally()
    for earlier in read_rows(connection, [call_id for call_id in batch.closed if states.get(call_id) == "unknown"]):
        tally.take_back(earlier)
    closed = [row for call_id, row in batch.closed.items() if states.get(call_id, "open") in UNFINISHED]
    for row in closed:
        tally.add(row)
    open_calls(connection, [row for call_id, row in batch.opened.items() if call_id not in batch.closed], fresh=True)
    close_calls(connection, [row for row in closed if row[0] not in states], fresh=True)
    close_calls(connection, [row for row in closed if row[0] in states])
    add_to_rollups(connection, tally.sums())


def _write_attempts(connection: Connection, batch: Batch, states: Mapping[str, str]) -> None:
    """Attempts of a call that had no row before have none either, as a rule."""
    tried = [row for key, row in batch.tried.items() if key not in batch.settled]
    open_attempts(connection, [row for row in tried if row[0] not in states], fresh=True)
    open_attempts(connection, [row for row in tried if row[0] in states])
    close_attempts(connection, [row for row in batch.settled.values() if row[0] not in states], fresh=True)
    close_attempts(connection, [row for row in batch.settled.values() if row[0] in states])

"""Folds records into the rows of one transaction: open and close of a call become one row, broken ones step out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.ledger.reader import Sourced
from backend.ledger.records import ATTEMPT, CLOSE, OPEN, Payload, Record, UnreadableRecord, decode, jsonable
from backend.ledger.segments import START, TORN
from backend.ledger.tally import Row
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS, RowCheck
from db.tables import attempts, calls

_STATE = CALL_COLUMNS.index("state")
_STATUS = CALL_COLUMNS.index("status")
_ATTEMPT_STATE = ATTEMPT_COLUMNS.index("state")
_CALLS = RowCheck(calls)
_ATTEMPTS = RowCheck(attempts)
_NUL_IN_JSON = b"\\u0000"


@dataclass(slots=True)
class Batch:
    """Rows ready to be written together, and the records that no row could be made of."""

    opened: dict[str, Row] = field(default_factory=dict)
    closed: dict[str, Row] = field(default_factory=dict)
    tried: dict[tuple[str, int], Row] = field(default_factory=dict)
    settled: dict[tuple[str, int], Row] = field(default_factory=dict)
    payloads: list[Payload] = field(default_factory=list)
    broken: list[tuple[str, int, bytes, str]] = field(default_factory=list)
    """Segment, position, bytes, what is wrong."""
    positions: dict[str, int] = field(default_factory=dict)


def fold(records: Iterable[Sourced], refused: str | None = None) -> Batch:
    """One batch out of records in the order they were written; all are set aside when ``refused`` says why."""
    batch = Batch()
    for source in records:
        frame = source.frame
        batch.positions[frame.segment] = frame.end
        try:
            _add(batch, source, refused)
        except (UnreadableRecord, TypeError, ValueError) as error:
            batch.broken.append((frame.segment, frame.start, frame.content, str(error)))
    return batch


def _add(batch: Batch, source: Sourced, refused: str | None) -> None:
    if source.frame.damage == TORN:
        return
    if refused or source.frame.damage:
        raise UnreadableRecord(refused or source.frame.damage)
    if source.frame.start == START:
        return  # the segment's head
    record = decode(source.frame.content, source.layout)
    if isinstance(record, Payload):
        batch.payloads.append(record)
        return
    if _NUL_IN_JSON in source.frame.content:
        record = Record(record.kind, record.call and _without_nul(record.call), [*map(_without_nul, record.attempts)])
    if record.kind not in {OPEN, ATTEMPT, CLOSE} or (record.call is None) != (record.kind == ATTEMPT):
        raise UnreadableRecord("unknown kind of record")
    _add_rows(batch, record)


def _add_rows(batch: Batch, record: Record) -> None:
    """All rows of a record or none: they are checked before the first is added."""
    call = None if record.call is None else _call_row(record.kind, record.call)
    tries = [_attempt_row(record.kind, values) for values in record.attempts]
    if call is not None:
        (batch.closed if record.kind == CLOSE else batch.opened)[call[0]] = call
    for row in tries:
        (batch.tried if row[_ATTEMPT_STATE] == "open" else batch.settled)[row[0], row[1]] = row


def _call_row(kind: int, values: Row) -> Row:
    row = list(jsonable(values))
    if kind == OPEN:
        row[_STATUS] = None  # a call under way has no outcome yet
    elif row[_STATE] == "open":
        row[_STATE] = "unknown"
    return _checked(_CALLS, tuple(row))


def _attempt_row(kind: int, values: Row) -> Row:
    row = values
    if kind == CLOSE and values[_ATTEMPT_STATE] == "open":
        row = (*values[:_ATTEMPT_STATE], "unknown", *values[_ATTEMPT_STATE + 1 :])
    return _checked(_ATTEMPTS, row)


def _without_nul(values: Row) -> Row:
    """NUL spelled out: Postgres has no such character in text, and SQLite's own functions stop at it."""
    return tuple(each.replace("\0", "\\u0000") if isinstance(each, str) else each for each in values)


def _checked(check: RowCheck, row: Row) -> Row:
    wrong = check.faults(row)
    if wrong:
        raise UnreadableRecord(f"no row of {check.name}: {', '.join(wrong)}")
    return row

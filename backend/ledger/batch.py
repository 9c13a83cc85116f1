"""Folds records into the rows of one transaction: open and close of a call become one row, broken ones step out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backend.ledger.reader import Sourced
from backend.ledger.records import ATTEMPT, CLOSE, OPEN, PROBE, Payload, Record, UnreadableRecord, decode, opened_id
from backend.ledger.segments import START, TORN, Frame
from backend.ledger.tally import Row
from db.cache_labels import Label, faults_of, row_of
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS, JSON_COLUMNS, RowCheck
from db.tables import attempts, cache_labels, calls

_STATE = CALL_COLUMNS.index("state")
_STATUS = CALL_COLUMNS.index("status")
_ATTEMPT_STATE = ATTEMPT_COLUMNS.index("state")
_CALLS = RowCheck(calls)
_ATTEMPTS = RowCheck(attempts)
_LABELS = RowCheck(cache_labels)
_NUL_IN_JSON = b"\\u0000"


@dataclass(slots=True)
class Batch:
    """Rows ready to be written together, and the records that no row could be made of."""

    opened: dict[str, Row] = field(default_factory=dict)
    closed: dict[str, Row] = field(default_factory=dict)
    tried: dict[tuple[str, int], Row] = field(default_factory=dict)
    settled: dict[tuple[str, int], Row] = field(default_factory=dict)
    payloads: list[Payload] = field(default_factory=list)
    labels: dict[tuple[str, str], Row] = field(default_factory=dict)
    broken: list[tuple[str, int, bytes, str]] = field(default_factory=list)
    """Segment, position, bytes, what is wrong."""
    positions: dict[str, int] = field(default_factory=dict)
    stored_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    """When its labels count as arrived (epoch ms): at once, so that the order of reading them is not seen in them."""


def fold(records: Sequence[Sourced], refused: str | None = None) -> Batch:
    """One batch out of records in the order they were written; all are set aside when ``refused`` says why.

    Read backwards: what a call said when it was opened need not be looked at once its close is here.
    """
    batch = Batch(positions={frame.segment: frame.end for frame, _ in records})
    for source in reversed(records):
        frame = source[0]
        try:
            if refused or frame.damage:
                _set_aside(frame, refused or frame.damage)
            elif frame.start != START and frame.content != PROBE:  # the first frame is the segment's head
                _add(batch, source)
        except (UnreadableRecord, TypeError, ValueError, LookupError) as error:
            batch.broken.append((frame.segment, frame.start, frame.content, str(error)))
    return batch


def _set_aside(frame: Frame, why: str | None) -> None:
    if frame.damage != TORN:
        raise UnreadableRecord(why)


def _add(batch: Batch, source: Sourced) -> None:
    content, layout = source[0].content, source[1]
    call_id = opened_id(content, layout)
    if call_id in batch.closed and (call_id, 1) in batch.settled:
        return
    record = decode(content, layout)
    if isinstance(record, Payload):
        batch.payloads.append(record)
        return
    if isinstance(record, Label):
        row = _label_row(record, batch.stored_at)
        batch.labels[row[0], row[1]] = row  # the earliest stays, as in the database
        return
    if record.kind not in {OPEN, ATTEMPT, CLOSE} or (record.call is None) != (record.kind == ATTEMPT):
        raise UnreadableRecord("unknown kind of record")
    if _NUL_IN_JSON in content:
        _spell_nul(record)
    _add_rows(batch, record)


def _add_rows(batch: Batch, record: Record) -> None:
    """All rows of a record or none: they are checked before the first is added."""
    call = None if record.call is None else _call_row(record.kind, record.call)
    tries = [_attempt_row(record.kind, values) for values in record.attempts]
    if call is not None:
        (batch.closed if record.kind == CLOSE else batch.opened).setdefault(call[0], call)
    for row in tries:
        (batch.tried if row[_ATTEMPT_STATE] == "open" else batch.settled).setdefault((row[0], row[1]), row)


def _call_row(kind: int, values: list[Any]) -> Row:
    if kind == OPEN:
        values[_STATUS] = None  # a call under way has no outcome yet
    elif values[_STATE] == "open":
        values[_STATE] = "unknown"
    for index in JSON_COLUMNS:
        if values[index] is not None and not isinstance(values[index], str):
            values[index] = orjson.dumps(values[index]).decode()
    return _checked(_CALLS, tuple(values))


def _attempt_row(kind: int, values: list[Any]) -> Row:
    if kind == CLOSE and values[_ATTEMPT_STATE] == "open":
        values[_ATTEMPT_STATE] = "unknown"
    return _checked(_ATTEMPTS, tuple(values))


def _label_row(label: Label, stored_at: int) -> Row:
    row = _checked(_LABELS, tuple(map(_without_nul, row_of(label, stored_at))))
    wrong = faults_of(label)
    if wrong:
        raise UnreadableRecord(f"no label: {', '.join(wrong)}")
    return row


def _spell_nul(record: Record) -> None:
    """NUL becomes its escape: Postgres has no such character in text, and SQLite's own functions stop at it."""
    for values in (record.call or [], *record.attempts):
        values[:] = map(_without_nul, values)


def _without_nul(value: Any) -> Any:
    return value.replace("\0", "\\u0000") if isinstance(value, str) else value


def _checked(check: RowCheck, row: Row) -> Row:
    wrong = check.faults(row)
    if wrong:
        raise UnreadableRecord(f"no row of {check.name}: {', '.join(wrong)}")
    return row

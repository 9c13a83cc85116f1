"""What the keeper writes down: how each engine is, and what happened to it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import orjson

from backend.call import new_id
from backend.settings.knobs import EngineSpec
from backend.settings.signature import Signature
from db.engine import Engine
from db.engine_events import EngineEvent, insert_event
from db.engines import clear_request, delete_engine, write_kept
from db.failures import DatabaseAway, RowsRefused, judged_writing

log = logging.getLogger("governor.engine")

MARKED = ("start", "stop", "apply", "return", "back off")
"""Kinds of events after which an engine runs anew, or no longer: charts mark them."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event to write down; ``changes``, ``before`` and ``after`` are plain data."""

    kind: str
    message: str
    by: Signature
    changes: Any = None
    before: Any = None
    after: Any = None


class Journal:
    """The rows of one engine. A database that is away loses a line of history, never an engine."""

    def __init__(self, engine: Engine, name: str, keeper: str) -> None:
        self._engine = engine
        self.name = name
        self._keeper = keeper
        self.own = Signature(actor="keeper", reason="kept running")

    def state(self, state: str, message: str | None = None, **columns: Any) -> None:
        """Write down how it is now."""
        said = {"state": state, "message": message, "keeper": self._keeper, "state_at": now_ms(), **columns}
        self.note(**said)

    def note(self, **columns: Any) -> None:
        """Write down facts that are no change of state."""
        self._write(lambda connection: write_kept(connection, self.name, self._keeper, columns))

    def happened(self, happening: Happening) -> None:
        """Append an event."""
        log.info("engine %s: %s (%s)", self.name, happening.kind, happening.message)
        by = happening.by
        said = [_json(each) for each in (happening.changes, happening.before, happening.after)]
        row = EngineEvent(new_id(), self.name, now_ms(), happening.kind, happening.message, by.actor, by.reason, *said)
        self._write(lambda connection: insert_event(connection, row))

    def carried_out(self, wanted_at: int) -> None:
        """The request of that moment is done; a later one stays."""
        self._write(lambda connection: clear_request(connection, self.name, wanted_at))

    def forget(self) -> None:
        """Delete the engine's row."""
        self._write(lambda connection: delete_engine(connection, self.name))

    def _write(self, write: Any) -> None:
        try:
            with judged_writing(self._engine) as connection:
                write(connection)
        except (DatabaseAway, RowsRefused) as error:
            log.error("engine %s: not written down: %s", self.name, error)  # noqa: TRY400 - one line says it all


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


def write_spec(spec: EngineSpec) -> str:
    """A specification as JSON, for the row of the engine that was launched with it."""
    return spec.model_dump_json()


def read_spec(text: str | None) -> EngineSpec | None:
    """A specification that was written down; None where this release cannot read it."""
    try:
        return EngineSpec.model_validate_json(text) if text else None
    except ValueError:
        return None


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, default=str).decode()

"""Local engines as a page and the command line show them: what is wanted, how they are, what is staged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.engine.change import staged
from backend.engine.journal import read_spec
from backend.engine.presets import PRESETS
from backend.engine.process import KEPT_LOGS
from backend.reports.ledger import Ledger
from backend.settings.diff import KnobChange
from backend.settings.knobs import EngineSpec, Settings
from db.engine_events import EngineEvent, list_events
from db.engines import EngineRow, list_engines

__all__ = ["PRESETS", "EngineEvent", "EngineLine", "read_engine_events", "read_engine_lines", "read_log"]

FRESH_MS = 15_000
_MOST_LOG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EngineLine:
    """One engine; ``spec`` None when it was removed and still ends, ``row`` None when it was never started."""

    name: str
    spec: EngineSpec | None
    row: EngineRow | None
    launched: EngineSpec | None
    staged: tuple[KnobChange, ...]
    """What its next launch would change."""
    kept: bool
    """Whether a keeper looks after it now."""

    @property
    def state(self) -> str:
        """How it is, as far as its keeper has said; ``unkept`` where none does what is wanted."""
        if self.row is None:
            return "stopped"
        if not self.kept and (self.row.wanted == "running" or self.row.state != "stopped"):
            return "unkept"
        return self.row.state


def read_engine_lines(ledger: Ledger, settings: Settings) -> tuple[EngineLine, ...]:
    """Every engine of the settings, then those that are only still ending."""
    with ledger.read() as connection:
        rows = {row.name: row for row in list_engines(connection)}
    specs = {spec.name: spec for spec in settings.engine.engines}
    return tuple(_line(name, specs.get(name), rows.get(name)) for name in dict.fromkeys([*specs, *rows]))


def _line(name: str, spec: EngineSpec | None, row: EngineRow | None) -> EngineLine:
    launched = read_spec(row.launched) if row else None
    changes = staged(launched, spec) if launched and spec else []
    now_ms = time.time_ns() // 1_000_000
    kept = row is not None and row.heartbeat_at is not None and now_ms - row.heartbeat_at < FRESH_MS
    return EngineLine(name, spec, row, launched, tuple(changes), kept)


def read_engine_events(ledger: Ledger, engine: str | None = None, limit: int = 50) -> Sequence[EngineEvent]:
    """What happened to one engine or to all, newest first."""
    with ledger.read() as connection:
        return list_events(connection, limit=limit, engine=engine)


def read_log(ledger: Ledger, engine: str, lines: int = 100, start: int = 0) -> list[str]:
    """The last lines of what an engine said on this machine; ``start`` 1 is the start before the last.

    Empty where there is none; raises ``ValueError`` on a name that is none.
    """
    if not engine.replace("-", "").replace("_", "").isalnum() or not 0 <= start <= KEPT_LOGS:
        raise ValueError(f"there is no log {engine} {start}")
    path = ledger.data_dir / "engines" / engine / (f"engine.log.{start}" if start else "engine.log")
    return _tail(path, lines) if lines > 0 else []


def _tail(path: Path, lines: int) -> list[str]:
    if not path.is_file():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _MOST_LOG_BYTES))
        return log.read().decode(errors="replace").splitlines()[-lines:]

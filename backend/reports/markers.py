"""Markers on every time chart: changes of settings, keys and prices, restarts of engines, with who and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.engine.journal import MARKED
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from db.audit import AuditRow
from db.change_reads import read_acts, read_settings_changes
from db.engine_events import EngineEvent, read_events
from db.settings import SettingsLine

Kind = Literal["settings", "key", "price", "engine", "other"]

MOST = 200
_END_OF_TIME = 2**62


@dataclass(frozen=True, slots=True)
class Marker:
    """One change: when (epoch ms), what, who, why; ``version`` is that of the settings it made, if any."""

    at: int
    kind: Kind
    title: str
    who: str
    why: str
    version: int | None = None
    changes: str | None = None
    """What changed, as JSON."""


def read_markers(ledger: Ledger, scope: Scope) -> tuple[Marker, ...]:
    """The changes within a range, oldest first, the newest 200 at most."""
    found = _read(ledger, scope.start_at, scope.end_at, MOST)
    return tuple(sorted(found, key=lambda marker: marker.at))


def read_recent_changes(ledger: Ledger, limit: int = 10) -> tuple[Marker, ...]:
    """The latest changes whatever the range, newest first."""
    return tuple(_read(ledger, 0, _END_OF_TIME, limit))


def _read(ledger: Ledger, start_at: int, end_at: int, limit: int) -> list[Marker]:
    with ledger.read() as connection:
        saves = read_settings_changes(connection, start_at, end_at, limit)
        acts = read_acts(connection, start_at, end_at, limit)
        events = read_events(connection, MARKED, start_at, end_at, limit)
    wishes = ("engine.",)  # what came of them is among the events
    found = [*map(_mark_save, saves), *(_mark_act(act) for act in acts if not act.action.startswith(wishes))]
    found += map(_mark_event, events)
    return sorted(found, key=lambda marker: -marker.at)[:limit]


def _mark_save(line: SettingsLine) -> Marker:
    title = f"Settings {line.version}"
    return Marker(line.created_at, "settings", title, line.actor, line.reason, line.version, line.changes)


def _mark_event(event: EngineEvent) -> Marker:
    title = f"engine {event.engine}: {event.kind}, {event.message}"
    return Marker(event.at, "engine", title, event.actor, event.reason, None, event.changes)


def _mark_act(row: AuditRow) -> Marker:
    kinds: dict[str, Kind] = {"settings": "settings", "key": "key", "keys": "key", "price": "price", "prices": "price"}
    words = row.action.replace(".", " ").replace("_", " ").split()
    kind: Kind = next((kinds[word] for word in words if word in kinds), "other")
    return Marker(row.at, kind, f"{row.action} {row.subject}".strip(), row.actor, row.reason, None, row.changes)

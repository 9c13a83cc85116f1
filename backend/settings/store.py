"""Versions of the settings: save, apply, roll back, compare; a version's row is its audit row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from backend.errors import Conflict, InvalidSettings, NotFound, StaleSettings
from backend.settings.diff import KnobChange, compare, write_unified
from backend.settings.document import UnreadableSettings, dump, load, validate
from backend.settings.knobs import Settings
from backend.settings.prices import stated_prices
from backend.settings.signature import Signature
from db.engine import Connection, Engine, reading, writing
from db.prices import add_prices
from db.settings import SettingsRow, VersionTaken, insert_version, list_lines, read_newest, read_version

ROUNDS = 5
"""How often a save looks again when another one took its version number (PostgreSQL only; SQLite queues them)."""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants in force; ``based_on`` is the version they looked at, None for whichever is in force."""

    values: Settings | Mapping[str, Any]
    by: Signature
    based_on: int | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the settings; 0 is what is built in. ``notes`` say what of it could not be read."""

    version: int
    settings: Settings
    actor: str = "governor"
    reason: str = "Built-in defaults"
    created_at: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One line of the history; ``created_at`` is epoch milliseconds."""

    version: int
    changes: list[KnobChange]
    actor: str
    reason: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What turns one version into another: knob by knob, and as a unified diff in YAML."""

    changes: list[KnobChange]
    text: str


def current(engine: Engine) -> Version:
    """The newest version that this release can read; its notes name newer ones it cannot.

    Raises ``UnreadableSettings`` when versions are stored and none can be read: defaults would send traffic elsewhere.
    """
    with reading(engine) as connection:
        return _read_current(connection)


def get(engine: Engine, version: int) -> Version:
    """One version. Raises ``NotFound``, or ``UnreadableSettings`` when this release cannot put it in force."""
    if version == 0:
        return Version(0, Settings())
    return _open_row(_find_row(engine, version))


def history(engine: Engine, *, limit: int = 100, before: int | None = None) -> list[VersionLine]:
    """Versions, newest first, those under ``before`` only."""
    with reading(engine) as connection:
        lines = list_lines(connection, limit=limit, before=before)
    return [
        VersionLine(line.version, orjson.loads(line.changes), line.actor, line.reason, line.created_at)
        for line in lines
    ]


def diff(engine: Engine, before: int, after: int) -> Difference:
    """What differs between two versions as they were stored. Raises ``NotFound``."""
    documents = [_read_document(engine, version) for version in (before, after)]
    names = (f"version {before}", f"version {after}")
    return Difference(compare(*documents), write_unified(documents[0], documents[1], names))


def save(engine: Engine, change: Change) -> Version:
    """Put a whole document in force; answers once it is committed. Equal documents make no new version.

    Raises ``InvalidSettings``, or ``StaleSettings`` naming who changed the settings since ``based_on``, and when.
    """
    settings = validate(change.values)
    return _commit(engine, change, lambda _: settings)


def apply_partial(engine: Engine, change: Change) -> Version:
    """Put sections in force: each one given replaces that section whole, the others stay.

    Raises ``InvalidSettings`` (an unknown section too) and ``StaleSettings``.
    """
    sections = change.values.model_dump() if isinstance(change.values, Settings) else dict(change.values)
    unknown = [name for name in sections if name not in Settings.model_fields]
    if unknown:
        known = ", ".join(Settings.model_fields)
        raise InvalidSettings([(str(name), f"no such section; sections are {known}") for name in unknown])
    return _commit(engine, change, lambda document: _merge(document, sections))


def rollback(engine: Engine, version: int, by: Signature) -> Version:
    """Put an earlier version's values in force, as a new version. Raises ``NotFound`` and ``InvalidSettings``."""
    try:
        settings = get(engine, version).settings
    except UnreadableSettings as error:
        raise InvalidSettings([("", f"version {version} cannot be put in force by this release: {error}")]) from None
    return save(engine, Change(settings, by))


def _merge(document: dict[str, Any], sections: dict[str, Any]) -> Settings:
    missing = [name for name in Settings.model_fields if name not in document and name not in sections]
    if missing:  # only where nothing stored can be read: defaults must not slip in beside what was asked
        raise InvalidSettings([(name, "needed, because no stored version can be read") for name in missing])
    return validate({**document, **sections})


def _commit(engine: Engine, change: Change, compose: Callable[[dict[str, Any]], Settings]) -> Version:
    for _ in range(ROUNDS):
        try:
            with writing(engine) as connection:
                return _insert(connection, change, compose)
        except VersionTaken:
            continue
    raise Conflict("The settings are being changed by several people at once; look again and retry.")


def _insert(connection: Connection, change: Change, compose: Callable[[dict[str, Any]], Settings]) -> Version:
    newest = read_newest(connection)
    standing, before = _read_standing(connection)
    _refuse_stale(change.based_on, standing, newest)
    settings = compose(before)
    changes = compare(before, dump(settings))
    if not changes and standing is not None:
        return standing
    row = SettingsRow(
        version=newest.version + 1 if newest else 1,
        changes=orjson.dumps(changes).decode(),
        actor=change.by.actor,
        reason=change.by.reason,
        created_at=time.time_ns() // 1_000_000,
        values=orjson.dumps(dump(settings)).decode(),
    )
    insert_version(connection, row)
    add_prices(connection, list(stated_prices(settings)))
    return Version(row.version, settings, row.actor, row.reason, row.created_at)


def _read_standing(connection: Connection) -> tuple[Version | None, dict[str, Any]]:
    """What is in force, with its document; None and nothing where no stored version can be read."""
    try:
        standing = _read_current(connection)
    except UnreadableSettings:
        return None, {}
    return standing, dump(standing.settings)


def _refuse_stale(based_on: int | None, standing: Version | None, newest: SettingsRow | None) -> None:
    allowed = {standing.version if standing else None, newest.version if newest else 0, None}
    if based_on in allowed:
        return
    if newest is None:
        raise StaleSettings(f"There is no version {based_on} of the settings; nothing has been saved yet.")
    moment = datetime.fromtimestamp(newest.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    raise StaleSettings(
        f"The settings changed since version {based_on}: {newest.actor} saved version {newest.version} "
        f"at {moment} ({newest.reason}). Look at it, then save again."
    )


def _read_current(connection: Connection) -> Version:
    row, notes = read_newest(connection), list[str]()
    while row is not None:
        try:
            found = _open_row(row)
            return replace(found, notes=(*notes, *found.notes))
        except UnreadableSettings as error:
            notes.append(str(error))
            row = read_newest(connection, below=row.version)
    if notes:
        raise UnreadableSettings(f"no stored version of the settings can be put in force: {notes[0]}")
    return Version(0, Settings())


def _open_row(row: SettingsRow) -> Version:
    try:
        settings, notes = load(row.values)
    except UnreadableSettings as error:
        raise UnreadableSettings(f"version {row.version}: {error}") from None
    return Version(row.version, settings, row.actor, row.reason, row.created_at, notes)


def _find_row(engine: Engine, version: int) -> SettingsRow:
    with reading(engine) as connection:
        row = read_version(connection, version)
    if row is None:
        raise NotFound(f"There is no version {version} of the settings.")
    return row


def _read_document(engine: Engine, version: int) -> dict[str, Any]:
    if version == 0:
        return dump(Settings())
    document: dict[str, Any] = orjson.loads(_find_row(engine, version).values)
    return document

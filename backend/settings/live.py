"""The settings in force in this process: watched, validated whole, swapped by rebinding one reference."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from backend.settings import store
from backend.settings.document import UnreadableSettings
from backend.settings.knobs import Settings
from db.engine import Engine
from db.revisions import read_marks

log = logging.getLogger(__name__)

SETTINGS = "settings"
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the settings; a call takes it once and keeps it."""

    version: int
    settings: Settings


class LiveSettings:
    """Follows the database: settings, and every noun with a revision (keys, prices).

    ``current`` is always a whole, valid document: what cannot be read or validated leaves the old one in force and
    is named in ``problem``. Raises ``UnreadableSettings`` or a database error if the first read fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._reactions: dict[str, list[Callable[[], object]]] = defaultdict(list)
        self._problems: dict[str, str] = {}
        self._seen = read_marks(engine)
        version = store.current(engine)
        self.current = Snapshot(version.version, version.settings)
        if version.notes:
            self._report(SETTINGS, "; ".join(version.notes))

    @property
    def problem(self) -> str | None:
        """What keeps this process from following the database; None when all is well."""
        return "; ".join(self._problems.values()) or None

    def on_change(self, noun: str, reaction: Callable[[], object]) -> None:
        """Call ``reaction`` (in a thread) after ``noun`` (settings, keys, prices) changed; again if it raised."""
        self._reactions[noun].append(reaction)

    def refresh(self) -> None:
        """Look once, and follow what changed; never raises, and keeps the last good where the database is away."""
        with self._lock:
            try:
                marks = read_marks(self._engine)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the database, the last good stays in force
                self._report("database", f"the database does not answer: {type(error).__name__}")
                return
            self._problems.pop("database", None)
            for noun in (name for name, mark in marks.items() if self._seen.get(name) != mark):
                self._follow(noun, marks[noun])

    async def watch(self) -> None:
        """Refresh every half second until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await asyncio.to_thread(self.refresh)

    def _follow(self, noun: str, mark: int) -> None:
        try:
            if noun == SETTINGS and not self._load(mark):
                return
            for reaction in self._reactions[noun]:
                reaction()
        except Exception as error:  # noqa: BLE001 - one noun's trouble must not stop the others; the next poll retries
            self._report(noun, f"{noun} could not be reloaded: {error}")
        else:
            self._seen[noun] = mark
            self._problems.pop(noun, None)

    def _load(self, version: int) -> bool:
        """Whether the document could be put in force; a bad one is not read again until there is a newer."""
        try:
            found = store.get(self._engine, version)
            if version == 0:
                raise UnreadableSettings("the database has lost every version")
        except UnreadableSettings as error:
            self._seen[SETTINGS] = version
            self._report(SETTINGS, f"version {self.current.version} stays in force: {error}")
            return False
        self.current = Snapshot(found.version, found.settings)
        return True

    def _report(self, noun: str, problem: str) -> None:
        if self._problems.get(noun) != problem:
            log.warning("live settings: %s", problem)
        self._problems[noun] = problem

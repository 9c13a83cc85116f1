"""The keeper: one process per data folder that owns the engines of this machine and does what people want of them."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.engine.attached import Visitor
from backend.engine.journal import now_ms
from backend.engine.minder import Minder
from backend.engine.round import House, Round, View
from backend.engine.watch import forget_samples
from backend.environment import Environment
from backend.lock import alone
from backend.settings.document import UnreadableSettings
from backend.settings.knobs import EngineSettings, EngineSpec
from backend.settings.store import current
from db.engine import Engine, connect, reading
from db.engines import EngineRow, beat, claim_engine, delete_engine, list_engines
from db.failures import DatabaseAway, RowsRefused, judged, judged_writing
from db.revisions import read_marks

LOCK_FILE = "keeper.alive"
POLL_S = 0.5
BEAT_S = 5.0
STALE_S = 30.0
HOUSEKEEP_S = 3600.0
END_WITHIN_S = 60.0

log = logging.getLogger("governor.engine")


class Keeper:
    """Follows the table of engines and the settings; one thread per engine does the rest."""

    def __init__(self, engine: Engine, folder: Path, machine: str | None = None) -> None:
        self.machine = machine or socket.gethostname()
        self.folder = folder
        self._engine = engine
        self._house = House(engine, folder, f"{self.machine}:{folder.resolve()}")
        self._rounds: dict[str, Round] = {}
        self._beat_at = 0.0
        self._housekeep_at = 0.0
        self._trouble = ""
        self._knobs = EngineSettings()
        self._version: int | None = None

    def run(self, stop: threading.Event) -> None:
        """Keeps until the event is set, then ends every engine. A database that is away changes nothing."""
        try:
            while not stop.is_set():
                self._guarded_turn()
                stop.wait(POLL_S)
        finally:
            self._end()

    def _guarded_turn(self) -> None:
        try:
            with judged():
                self.turn()
            self._trouble = ""
        except (DatabaseAway, RowsRefused, UnreadableSettings) as error:
            if str(error) != self._trouble:
                log.error("engines are kept as they are: %s", error)  # noqa: TRY400 - one line says it all
            self._trouble = str(error)

    def turn(self) -> None:
        """One look at what is wanted."""
        knobs = self._read_knobs()
        specs = {spec.name: spec for spec in knobs.engines}
        with reading(self._engine) as connection:
            rows = list_engines(connection)
        for row in rows:
            if self._is_ours(row, specs.get(row.name)):
                self._look(row, specs.get(row.name), knobs)
        self._drop_ended({row.name for row in rows})
        self._do_what_is_due(knobs)

    def _read_knobs(self) -> EngineSettings:
        """The settings' section, read anew only when they changed."""
        version = read_marks(self._engine)["settings"]
        if version != self._version:
            self._knobs, self._version = current(self._engine).settings.engine, version
        return self._knobs

    def _is_ours(self, row: EngineRow, spec: EngineSpec | None) -> bool:
        """Whether this keeper looks after it: it does already, or may and nobody else does.

        One that somebody else took meanwhile (this keeper could not say for long that it lives) is ended here.
        """
        now, keeper = now_ms(), self._house.keeper
        found = self._rounds.get(row.name)
        if found is not None and row.keeper == keeper:
            return True
        taken = row.keeper not in {None, keeper} and (row.heartbeat_at or 0) >= now - round(STALE_S * 1000)
        if taken or (spec is not None and spec.machine not in {None, self.machine}):
            if found is not None:
                found.end()
            return False
        with judged_writing(self._engine) as connection:
            return claim_engine(connection, row.name, keeper, now, now - round(STALE_S * 1000))

    def _look(self, row: EngineRow, spec: EngineSpec | None, knobs: EngineSettings) -> None:
        view = View(row, spec, knobs)
        found = self._rounds.get(row.name)
        kind = Visitor if spec is not None and spec.kind == "attached" else Minder
        if found is not None and spec is not None and not isinstance(found, kind):
            found.end()
            return
        if found is None:
            if spec is None and row.pid is None:
                self._forget(row)
                return
            found = self._rounds[row.name] = kind(self._house, view)
            found.start()
        found.look(view)
        if spec is None and found.is_idle:
            found.end()

    def _forget(self, row: EngineRow) -> None:
        with judged_writing(self._engine) as connection:
            delete_engine(connection, row.name)

    def _drop_ended(self, names: set[str]) -> None:
        for name, found in list(self._rounds.items()):
            if name not in names:
                found.end()
            if found.ending and not found.alive:
                del self._rounds[name]

    def _do_what_is_due(self, knobs: EngineSettings) -> None:
        now = time.monotonic()
        if self._rounds and now >= self._beat_at:
            self._beat_at = now + BEAT_S
            with judged_writing(self._engine) as connection:
                beat(connection, list(self._rounds), self._house.keeper, now_ms())
        if now >= self._housekeep_at:
            self._housekeep_at = now + HOUSEKEEP_S
            forget_samples(self._engine, now_ms(), knobs.keep_samples_days)

    def _end(self) -> None:
        for found in self._rounds.values():
            found.end()
        until = time.monotonic() + END_WITHIN_S
        for name, found in self._rounds.items():
            if not found.join(max(0.0, until - time.monotonic())):
                log.error("engine %s did not end in time; its guard ends it", name)


def run(environment: Environment, on_ready: Callable[[], None], signals: Sequence[int] = (signal.SIGTERM,)) -> None:
    """Keep the engines of this data folder until a signal comes."""
    stop = threading.Event()
    for number in signals:
        signal.signal(number, lambda *_: stop.set())
    engine = connect(environment.database, pool_size=8)
    folder = environment.data_dir / "engines"
    on_ready()
    try:
        with alone(folder / LOCK_FILE, stop):
            if not stop.is_set():
                Keeper(engine, folder).run(stop)
    finally:
        engine.dispose()

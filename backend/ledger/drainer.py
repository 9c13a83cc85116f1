"""The drainer: moves spool records to the database in batches, closes what dead workers left, tidies up."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from backend.environment import Environment
from backend.ledger.batch import fold
from backend.ledger.loop import Backoff, Loop
from backend.ledger.reader import Sourced, SpoolReader
from backend.ledger.reaper import give_up_old, give_up_worker
from backend.ledger.redaction import Redaction
from backend.ledger.retention import remove_expired
from backend.ledger.segments import LOCK_SUFFIX, list_workers, measure_segments, worker_of
from backend.ledger.spool import try_lock
from backend.ledger.status import DrainerStatus, undrained_bytes, write_status
from backend.ledger.writer import write_batch
from backend.lock import alone
from backend.settings.document import UnreadableSettings
from backend.settings.knobs import LedgerSettings
from backend.settings.live import LiveSettings
from db.engine import Engine, connect_writer, reading
from db.failures import DatabaseAway, RowsRefused, judged, judged_writing
from db.quarantine import count_quarantined
from db.schema import upgrade
from db.spool_positions import forget_positions, read_positions

LOCK_FILE = "drainer.alive"
SETTINGS_AGE_S = 1.0

log = logging.getLogger("governor.ledger")


def run(environment: Environment, on_ready: Callable[[], None] = lambda: None) -> None:
    """The main loop of the drainer's process; a second one for the same folder waits until the first ends.

    SIGTERM or SIGINT: what is there is drained, then it returns; ``on_ready`` is called once they are understood.
    Raises ``SchemaTooNew``.
    """
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    on_ready()
    folder, engine = environment.spool_dir, connect_writer(environment.database)
    with alone(folder / LOCK_FILE, stop):
        settings = _open_settings(engine, folder, stop)
        if settings is not None:
            Loop(Drainer(engine, folder, settings), folder, stop).run()
    engine.dispose()


def _open_settings(engine: Engine, folder: Path, stop: Event) -> Callable[[], LedgerSettings] | None:
    """The knobs in force, once the database can be reached and has our schema; none when told to stop before."""
    backoff = Backoff()
    while True:
        try:
            upgrade(engine)
            with judged():
                return _follow(LiveSettings(engine))
        except (DatabaseAway, RowsRefused, UnreadableSettings) as error:
            wait_s = backoff.failed(error)
        now = time.time_ns() // 1_000_000
        write_status(folder, DrainerStatus(now, os.getpid(), spool_bytes=undrained_bytes(folder), error=backoff.error))
        if stop.wait(wait_s):
            return None


def _follow(live: LiveSettings) -> Callable[[], LedgerSettings]:
    """The knobs of the ledger, looked up in the database at most once a second."""
    looked_at = time.monotonic()

    def current() -> LedgerSettings:
        nonlocal looked_at
        if time.monotonic() - looked_at > SETTINGS_AGE_S:
            live.refresh()
            looked_at = time.monotonic()
        return live.current.settings.ledger

    return current


@contextmanager
def _without_collection() -> Iterator[None]:
    """No search for garbage cycles: a batch makes none, and looking through its rows took a third of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Drainer:
    """Drains one spool folder into one database; made once per folder, used by one thread.

    Every method raises ``DatabaseAway`` when the database cannot be used; nothing is lost then, and the same call may
    simply be made again.
    """

    def __init__(self, engine: Engine, folder: Path, settings: Callable[[], LedgerSettings]) -> None:
        self._engine = engine
        self._folder = folder
        self._settings = settings
        self._reader = SpoolReader(folder)
        self._redaction = Redaction(settings())
        self._dead: dict[str, int | None] = {}
        """Workers known to be dead, each with the lock we took over."""
        self._loaded = False
        self._records = 0
        self._quarantined = 0
        self._current_at = time.monotonic()

    def drain_once(self) -> int:
        """Move the next batch; how many records it had, 0 when nothing waits."""
        self._load_positions()
        with _without_collection():
            records = self._reader.read(self._dead)
            self._store(records)
        if not records:
            self._current_at = time.monotonic()
        self._records += len(records)
        return len(records)

    def drain(self) -> int:
        """Move all that waits and bury the dead; how many records it was."""
        self.find_dead()
        total = 0
        while moved := self.drain_once():
            total += moved
        self.tidy()
        return total

    def find_dead(self) -> None:
        """Notice workers whose lock nobody holds any more."""
        for worker in list_workers(self._folder) - self._dead.keys():
            path = self._folder / f"{worker}{LOCK_SUFFIX}"
            lock = try_lock(path)
            if lock is not None or not path.exists():
                self._dead[worker] = lock

    def tidy(self) -> None:
        """Close what dead workers left open once their records are drained, and remove drained segments."""
        self._load_positions()
        self.find_dead()
        for worker in self._drained_dead():
            given_up = give_up_worker(self._engine, worker)
            if given_up:
                log.warning("worker %s died with %d calls under way; they are closed as unknown", worker, given_up)
        buried = self._drained_dead()
        self._remove(self._reader.drained(self._dead))
        for worker in buried:
            self._bury(worker)

    def housekeep(self) -> None:
        """Close calls that were never closed, remove what has had its time."""
        never_closed = give_up_old(self._engine)
        if never_closed:
            log.warning("%d calls were never closed; they are closed as unknown", never_closed)
        remove_expired(self._engine, self._settings())

    def status(self, error: str | None = None) -> DrainerStatus:
        """How far the drainer is; ``error`` says why it is not getting further."""
        waiting = self._reader.undrained_bytes()
        if error is None:
            with judged(), reading(self._engine) as connection:
                self._quarantined = count_quarantined(connection)
        return DrainerStatus(
            at=time.time_ns() // 1_000_000,
            pid=os.getpid(),
            lag_s=round(time.monotonic() - self._current_at, 3) if waiting else 0.0,
            spool_bytes=waiting,
            records=self._records,
            quarantined=self._quarantined,
            error=error,
            positions=dict(self._reader.positions),
        )

    def _load_positions(self) -> None:
        """Ask the database how far we are, at the start and whenever a commit's outcome is in doubt."""
        if self._loaded:
            return
        names = list(measure_segments(self._folder))
        with judged(), reading(self._engine) as connection:
            self._reader.positions = read_positions(connection, names)
        self._loaded = True

    def _store(self, records: Sequence[Sourced]) -> None:
        """Write records in one transaction; when some are refused, halve until those stand alone in quarantine."""
        if not records:
            return
        try:
            self._write(records)
        except RowsRefused as error:
            middle = len(records) // 2
            if not middle:
                self._write(records, refused=str(error))
                return
            self._store(records[:middle])
            self._store(records[middle:])

    def _write(self, records: Sequence[Sourced], refused: str | None = None) -> None:
        batch = fold(records, refused)
        try:
            write_batch(self._engine, batch, self._current_redaction())
        except DatabaseAway:
            self._loaded = False
            raise
        self._reader.move(batch.positions)

    def _current_redaction(self) -> Redaction:
        settings = self._settings()
        if settings is not self._redaction.settings:
            self._redaction = Redaction(settings)
        return self._redaction

    def _drained_dead(self) -> list[str]:
        """Dead workers of whom no record waits."""
        waiting = set(measure_segments(self._folder)) - set(self._reader.drained(self._dead))
        busy = {worker_of(name) for name in waiting}
        return [worker for worker in self._dead if worker not in busy]

    def _remove(self, segments: Sequence[str]) -> None:
        if not segments:
            return
        for name in segments:
            (self._folder / name).unlink(missing_ok=True)
        with judged_writing(self._engine) as connection:
            forget_positions(connection, segments)
        self._reader.forget(segments)

    def _bury(self, worker: str) -> None:
        lock = self._dead.pop(worker)
        (self._folder / f"{worker}{LOCK_SUFFIX}").unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)

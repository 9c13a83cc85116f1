"""The drainer's rhythm: drain often, tidy each second, keep house each minute, wait out a database that is away."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from threading import Event
from typing import Protocol

from backend.ledger.status import DrainerStatus, write_status
from db.failures import DatabaseAway, RowsRefused

POLL_S = 0.15
FULL_BATCH = 2_000
"""Records; a batch of at least so many is followed by the next at once."""
TIDY_EVERY_S = 1.0
HOUSEKEEP_EVERY_S = 60.0
LONGEST_WAIT_S = 2.0
LAST_TRY_S = 5.0
"""How long a stopping drainer waits for a database that is away; the spool keeps what is left."""
TROUBLE = (DatabaseAway, RowsRefused, OSError)

log = logging.getLogger("governor.ledger")


class Steps(Protocol):
    """What the loop does again and again; every step raises one of ``TROUBLE`` and may then be repeated."""

    def drain_once(self) -> int: ...  # noqa: D102
    def drain(self) -> int: ...  # noqa: D102
    def tidy(self) -> None: ...  # noqa: D102
    def housekeep(self) -> None: ...  # noqa: D102
    def status(self, error: str | None = None) -> DrainerStatus: ...  # noqa: D102


class Backoff:
    """Waits that double up to a bound, and one log line when trouble starts and when it ends."""

    def __init__(self) -> None:
        self.error: str | None = None
        self._wait_s = POLL_S

    def failed(self, error: Exception) -> float:
        """Seconds to wait before the next try."""
        if self.error is None:
            log.error("draining stopped, the spool keeps everything: %s", error)
        self.error = str(error) or type(error).__name__
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        return self._wait_s

    def worked(self) -> None:
        """All is well again."""
        if self.error is not None:
            log.warning("draining goes on")
        self.error, self._wait_s = None, POLL_S


class Loop:
    """Runs the steps until it is told to stop, then drains what is there."""

    def __init__(self, steps: Steps, folder: Path, stop: Event) -> None:
        self._steps = steps
        self._folder = folder
        self._stop = stop
        self._backoff = Backoff()
        self._tidy_at = 0.0
        self._housekeep_at = time.monotonic() + HOUSEKEEP_EVERY_S

    def run(self) -> None:
        """Drain until the event is set. Never raises for a database that is away."""
        while not self._stop.is_set():
            self._stop.wait(self._turn())
        deadline = time.monotonic() + LAST_TRY_S
        while not self._drain_rest() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _turn(self) -> float:
        """One round; seconds until the next."""
        try:
            moved = self._steps.drain_once()
            self._do_what_is_due()
        except TROUBLE as error:
            wait_s = self._backoff.failed(error)
            self._say()
            return wait_s
        self._backoff.worked()
        return 0.0 if moved >= FULL_BATCH else POLL_S

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._housekeep_at:
            self._housekeep_at = now + HOUSEKEEP_EVERY_S
            self._steps.housekeep()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY_S
            self._steps.tidy()
            write_status(self._folder, self._steps.status())

    def _drain_rest(self) -> bool:
        try:
            self._steps.drain()
            write_status(self._folder, self._steps.status())
        except TROUBLE as error:
            self._backoff.failed(error)
            return False
        return True

    def _say(self) -> None:
        try:
            write_status(self._folder, self._steps.status(self._backoff.error))
        except OSError as error:
            log.critical("the drainer's status cannot be written: %s", error.strerror)

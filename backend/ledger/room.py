"""Whether there is room to record another call: spool cap and disk headroom, looked at four times a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from backend.ledger.status import undrained_bytes
from backend.settings.knobs import LedgerSettings

CHECK_EVERY_S = 0.25
MEGABYTE = 1024 * 1024


class Room:
    """Remembers the last look at the disk, so that asking costs nothing."""

    def __init__(self, folder: Path, settings: Callable[[], LedgerSettings]) -> None:
        self._folder = folder
        self._settings = settings
        self._due = 0.0
        self._lack: str | None = None

    def lack(self) -> str | None:
        """Why no new call may be taken; none while there is room."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + CHECK_EVERY_S
            self._lack = self._look()
        return self._lack

    def _look(self) -> str | None:
        settings = self._settings()
        try:
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < settings.headroom_mb * MEGABYTE:
                return "the disk is nearly full"
            if undrained_bytes(self._folder) > settings.spool_cap_mb * MEGABYTE:
                return "too many records wait for the database"
        except OSError:
            return "the spool folder cannot be read"
        return None

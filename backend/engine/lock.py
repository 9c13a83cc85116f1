"""One keeper per data folder: a lock that the kernel lets go when its process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

LOCK_FILE = "keeper.alive"
POLL_S = 0.5


@contextmanager
def alone(folder: Path, stop: Event) -> Iterator[None]:
    """Be the only keeper of this folder: waits for another to end, or until told to stop."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _take(fd) and not stop.wait(POLL_S):
            pass
        yield
    finally:
        os.close(fd)


def is_kept(folder: Path) -> bool:
    """Whether a keeper of this folder runs now."""
    try:
        fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _take(fd)
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

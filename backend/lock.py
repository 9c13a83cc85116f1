"""One process at a time: a lock on a file, which the kernel lets go when its process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

POLL_S = 0.5


@contextmanager
def alone(file: Path, stop: Event) -> Iterator[None]:
    """Be the only one that holds this file: waits for another to end, or until told to stop."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _take(fd) and not stop.wait(POLL_S):
            pass
        yield
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

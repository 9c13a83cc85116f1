"""The data folder as one group of processes owns it: one drainer per folder, never two."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from backend.cli.output import CommandFailed

LOCK = "governor.lock"


def claim_folder(folder: Path) -> int:
    """Takes the folder for this process and its children; returns the descriptor that holds it.

    Raises ``CommandFailed`` when another Governor runs on it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandFailed(f"The data folder {folder} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise CommandFailed(
            f"Another Governor (pid {owner or 'unknown'}) runs on the data folder {folder}. "
            "Stop it, or set GOVERNOR_DATA_DIR to another folder."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def find_owner(folder: Path) -> int | None:
    """Process id of the Governor that runs on the folder; None when none does."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except OSError:
        return int(os.read(descriptor, 20).decode().strip() or 0)
    finally:
        os.close(descriptor)

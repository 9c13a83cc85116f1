"""A worker's own append-only spool: one write per record, checksummed, rotated, locked while the worker lives."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import time
from pathlib import Path

from backend.ledger.records import encode_head
from backend.ledger.segments import FRAME_BYTES, LOCK_SUFFIX, MAGIC, MARK_BYTES, pack, segment_name

SEGMENT_BYTES = 16 * 1024 * 1024
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def worker_name() -> str:
    """A name nobody ever had, in any container: host, process id, start time in milliseconds, 32 random bits."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:28] or "host"
    return f"{host}-{os.getpid()}-{time.time_ns() // 1_000_000}-{secrets.token_hex(4)}"


class Spool:
    """Appends records that survive the death of this process. Made by the worker that writes it, after any fork."""

    def __init__(self, folder: Path, worker: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.worker = worker
        self.written = 0
        """Bytes appended since the start, over all segments."""
        self._head = encode_head(worker)
        self._segment_bytes = segment_bytes
        self._number = 0
        self._fd = -1
        self._size = 0
        self._mark = b""
        self._synced = 0
        """Number of the newest segment that a sync has reached."""
        self._lock = lock_worker(folder / f"{worker}{LOCK_SUFFIX}")

    def append(self, content: bytes) -> None:
        """Add one record with one write. Raises ``OSError`` when the disk refuses; nothing of it is left then."""
        if self._fd < 0 or self._size + FRAME_BYTES + len(content) > self._segment_bytes:
            self._rotate()
        self._write(pack(self._mark, content))

    def sync(self) -> None:
        """Bring everything appended before this call to the disk (fsync); safe to run in one other thread."""
        last = self._number
        for number in range(max(1, self._synced), last + 1):
            _sync_path(self.folder / segment_name(self.worker, number))
        if last != self._synced:  # a new name in the folder
            _sync_path(self.folder)
        self._synced = last

    def close(self) -> None:
        """Stop writing and let the drainer know that this worker is gone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _rotate(self) -> None:
        self._abandon()
        self._number += 1
        path = self.folder / segment_name(self.worker, self._number)
        self._fd, self._size, self._mark = os.open(path, _FLAGS, 0o600), 0, secrets.token_bytes(MARK_BYTES)
        try:
            self._write(MAGIC + self._mark + pack(self._mark, self._head))
        except OSError:
            self._abandon()
            path.unlink(missing_ok=True)
            raise

    def _write(self, data: bytes) -> None:
        done = 0
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            self._undo()
            raise
        self._size += done
        self.written += done

    def _undo(self) -> None:
        """Cut off what a refused write left behind; the next record goes to a new segment if even that fails."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._abandon()

    def _abandon(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def lock_worker(path: Path) -> int:
    """Take a worker's lock and keep it: whoever can take it later knows that the worker is dead."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if _is_still(path, fd):
            return fd
        os.close(fd)  # the drainer tidied the file away between our two steps


def try_lock(path: Path) -> int | None:
    """The lock if nobody holds it, else none. Creates no file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _is_still(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _sync_path(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # drained and removed: its records are in the database
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

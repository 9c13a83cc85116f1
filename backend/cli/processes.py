"""One child process: started with its listening socket, watched for readiness, asked to end, killed if it does not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.cli.child import LISTEN_VARIABLE, READY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]

VISITORS, WORKERS, DRAINER, CONSOLE, KEEPER = range(5)
"""The order of stopping."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A child that lived this long has recovered: its next restart is quick again."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a child does; ``stage`` is its place in the order of stopping."""

    kind: str
    name: str
    stage: int
    listener: socket.socket | None = None
    silent: bool = False
    """Whether its standard output is thrown away; its errors never are."""

    @property
    def vital(self) -> bool:
        """Whether calls depend on it: without workers and drainer there is no gateway."""
        return self.stage in {WORKERS, DRAINER}

    @property
    def late(self) -> bool:
        """Whether it starts when everything else is ready: an engine takes the processor for a while."""
        return self.stage == KEEPER


class Child:
    """A role and the process that plays it now."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.ready = False
        self.failures = 0
        self.due_at: float | None = None
        """When it is to be started again (monotonic); None while it runs."""
        self.pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int:
        """Process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the process; the kernel ends it when this one dies."""
        self.forget_pipe()
        self.pipe, write_end = os.pipe()
        os.set_blocking(self.pipe, False)
        passed = {READY_VARIABLE: write_end}
        if self.role.listener is not None:
            passed[LISTEN_VARIABLE] = self.role.listener.fileno()
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with _held_back():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "backend.cli.child", self.role.kind, str(os.getpid())],
                env={**os.environ, "PYTHONPATH": paths, **{name: str(number) for name, number in passed.items()}},
                pass_fds=tuple(passed.values()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if self.role.silent else None,
            )
        os.close(write_end)
        self.mark_started()

    def mark_started(self) -> None:
        """From now on it runs, and has yet to say that it is ready."""
        self.ready, self.due_at, self._started_at = False, None, time.monotonic()

    def read_pipe(self) -> None:
        """Notes that the child said it is ready, or that it can no longer say so."""
        if self.pipe is None:
            return
        with contextlib.suppress(BlockingIOError):
            self.ready = self.ready or os.read(self.pipe, 1) == b"1"
            self.forget_pipe()

    def forget_pipe(self) -> None:
        """Closes our end of the pipe."""
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None

    def plan_restart(self) -> float:
        """Seconds until the next start: doubling while the child keeps dying young."""
        now = time.monotonic()
        self.failures = 1 if now - self._started_at > STEADY_S else self.failures + 1
        pause_s = min(FIRST_PAUSE_S * float(2 ** (self.failures - 1)), LONGEST_PAUSE_S)
        self.due_at = now + pause_s
        return pause_s

    def describe_end(self) -> str:
        """How the process ended, for people."""
        code = self._process.poll() if self._process else None
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def terminate(self) -> None:
        """Asks the process to finish its work and end."""
        if self.alive and self._process:
            self._process.terminate()

    def kill(self) -> None:
        """Ends the process at once and waits for it."""
        if self._process:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Children begin with these signals blocked: they must not die of them before they know what to do."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)

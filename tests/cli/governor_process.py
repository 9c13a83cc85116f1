"""The command as a real process on ports and a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class GovernorProcess:
    """`governor ARGUMENTS` with its output read line by line."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.console_port = free_port()
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-m", "backend.cli.main", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._variables(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _variables(self, folder: Path) -> dict[str, str]:
        return {
            "GOVERNOR_DATA_DIR": str(folder / "data"),
            "GOVERNOR_GATEWAY_PORT": str(self.port),
            "GOVERNOR_CONSOLE_PORT": str(self.console_port),
            "GOVERNOR_DRAIN_DEADLINE_S": "10",
        }

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        """The line in which it said so; fails with all it said when it never does."""
        with self._said:
            heard = self._said.wait_for(lambda: self._count(text) >= times or not self._reading.is_alive(), PATIENCE_S)
        assert heard, "\n".join(self.lines)
        assert self._count(text) >= times, "\n".join(self.lines)
        return [line for line in self.lines if text in line][times - 1]

    def _count(self, text: str) -> int:
        return sum(text in line for line in self.lines)

    def children(self, role: str = "") -> list[psutil.Process]:
        """Its child processes, or those of one role."""
        found = psutil.Process(self.child.pid).children(recursive=True)
        return [each for each in found if not role or role in each.cmdline()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(number)
        code = self.child.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        family = self.children() if self.child.poll() is None else []
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        for each in family:
            each.kill()
        self._reading.join(PATIENCE_S)
        if self.child.stdout is not None:
            self.child.stdout.close()

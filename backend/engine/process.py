"""The processes of one engine: started as a session of their own, asked to end, killed together, found again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from backend.engine.launch import LOOPBACK, Launch

GUARD = Path(__file__).with_name("guard.py")
KEPT_LOGS = 5
KILL_MARGIN_S = 5.0
_LOG = "engine.log"


@dataclass(frozen=True, slots=True)
class Pid:
    """A process that cannot be mistaken for another: its number and the kernel's start time of it in clock ticks."""

    number: int
    started_at: int


class EngineProcess:
    """A started engine: its guard, which leads the session, and everything below it."""

    def __init__(self, launch: Launch, folder: Path, grace_s: float) -> None:
        """Starts it; what it says goes to ``engine.log`` in the folder. Raises ``OSError``."""
        self.launch = launch
        self.log = open_log(folder)
        read_end, self._lifeline = os.pipe()
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(GUARD), str(grace_s), *launch.argv],
                env=dict(launch.environment),
                stdin=read_end,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(read_end)
        self.pid = Pid(self._guard.pid, started_at(self._guard.pid) or 0)

    @property
    def code(self) -> int | None:
        """The engine's exit code; None while it runs."""
        return self._guard.poll()

    def ask_to_end(self) -> None:
        """Lets it finish open calls and end; the guard kills what is left when its grace is over."""
        if self.code is None:
            self._guard.terminate()

    def end(self, patience_s: float) -> int:
        """Asks it to end, waits so long and a little, and kills what is left of its session; the exit code."""
        self.ask_to_end()
        self.wait(patience_s + KILL_MARGIN_S)
        return self.kill()

    def kill(self) -> int:
        """Ends everything at once; the exit code."""
        end_session(self.pid)
        code = self._guard.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return code

    def wait(self, seconds: float) -> bool:
        """Whether it ended within this time."""
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def open_log(folder: Path) -> Path:
    """A fresh log in the folder; those of earlier starts are kept beside it, ``engine.log.1`` the latest."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / _LOG
    for number in range(KEPT_LOGS - 1, 0, -1):
        older = folder / f"{_LOG}.{number}"
        if older.exists():
            older.replace(folder / f"{_LOG}.{number + 1}")
    if log.exists():
        log.replace(folder / f"{_LOG}.1")
    log.touch(mode=0o600)
    return log


def end_session(leader: Pid) -> int:
    """Kills every process of the session that this process leads or led; how many. A later namesake is not touched.

    Zombies do not count. The kernel gives no new process a number that is still a session's, so members of a session
    whose leader has gone are the engine's own.
    """
    ended = 0
    for _ in range(50):
        members = session_members(leader)
        if not members:
            return ended
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                ended += 1
        time.sleep(0.02)
    return ended


def end_left(leader: Pid, space: str | None) -> int:
    """Kills what an earlier keeper left running; how many processes.

    Nothing where its number may mean somebody else by now: after a boot, in another container, without its leader.
    """
    if space is None or space != name_pid_space() or started_at(leader.number) != leader.started_at:
        return 0
    return end_session(leader)


def name_pid_space() -> str | None:
    """The boot and the namespace in which process numbers mean what they mean here; None where nobody says."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - it leads to no path
    except OSError:
        return None


def session_members(leader: Pid) -> list[int]:
    """Living processes of the session, from /proc; empty where its number now belongs to somebody else."""
    found = started_at(leader.number)
    if found is not None and found != leader.started_at:
        return []
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [number for number in numbers if _session(number) == leader.number]


def session_bytes(leader: Pid) -> int:
    """Memory that the session's processes hold; what they share counts for each of them."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(_resident_pages(number) for number in session_members(leader)) * page


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


def started_at(pid: int) -> int | None:
    """When the kernel started this process, in clock ticks since the machine's start; None when there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _session(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[3]) if fields and fields[0] not in {"Z", "X"} else None


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the command's name, which may hold anything; proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])

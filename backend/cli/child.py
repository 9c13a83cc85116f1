"""A child process of the supervisor: ends when its parent ends, runs one role, says when it is ready.

Run as ``python -m backend.cli.child ROLE PARENT_PID``. The terminal's Ctrl-C and hang-up go to the whole process
group; only the supervisor answers them (children start with them blocked), so that workers, drainer and console stop
in order.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from backend.environment import Environment, read_environment

LISTEN_VARIABLE = "GOVERNOR_LISTEN_FD"
READY_VARIABLE = "GOVERNOR_READY_FD"
APP = Path(__file__).resolve().parents[2] / "app.py"

_WATCH_S = 1.0
_SET_PARENT_DEATH_SIGNAL = 1


def die_with_parent(parent: int, grace_s: float) -> None:
    """Asks for SIGTERM when the supervisor ends, even by kill -9; after ``grace_s`` more the process is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))
    if os.getppid() != parent:
        sys.exit(1)
    threading.Thread(target=_watch_parent, args=(parent, grace_s), name="parent-watch", daemon=True).start()


def _watch_parent(parent: int, grace_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.kill(os.getpid(), signal.SIGKILL)


def obey_sigterm() -> None:
    """Lets SIGTERM in, which the supervisor holds back until a child knows what to do with it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def tell_ready() -> None:
    """Tells the supervisor that this child does its work from now on."""
    obey_sigterm()
    descriptor = os.environ.pop(READY_VARIABLE, None)
    if descriptor is not None:
        with open(int(descriptor), "wb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor, not a path
            pipe.write(b"1")


def run_gateway(environment: Environment) -> None:
    """One gateway worker on the listening socket that the supervisor holds."""
    from backend.wiring import run_worker

    descriptor = os.environ.pop(LISTEN_VARIABLE, None)
    listener = socket.socket(fileno=int(descriptor)) if descriptor else None
    run_worker(environment, listener=listener, on_ready=tell_ready)


def run_drainer(environment: Environment) -> None:
    """The one process that writes calls to the database."""
    from backend.ledger import drainer

    drainer.run(environment, on_ready=tell_ready)


def run_console(environment: Environment) -> None:
    """The console; Streamlit runs in this process so that it ends with it."""
    obey_sigterm()
    threading.Thread(target=_await_console, args=(environment,), name="console-watch", daemon=True).start()
    options = {
        "server.address": environment.console_host,
        "server.port": environment.console_port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    sys.argv = ["streamlit", "run", str(APP), *(f"--{name}={value}" for name, value in options.items())]
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)


def _await_console(environment: Environment) -> None:
    from backend.cli.health import answers

    while not answers(environment.console_host, environment.console_port, "/_stcore/health"):
        time.sleep(0.1)
    tell_ready()


def run_keeper(environment: Environment) -> None:
    """The one process of this machine that starts, watches and ends local engines."""
    from backend.engine import keeper

    keeper.run(environment, on_ready=tell_ready)


def run_visitors(environment: Environment) -> None:
    """The live traffic of the demo."""
    from backend.cli import demo_visitors

    tell_ready()
    demo_visitors.run(environment)


ROLES: dict[str, Callable[[Environment], None]] = {
    "gateway": run_gateway,
    "drainer": run_drainer,
    "console": run_console,
    "keeper": run_keeper,
    "visitors": run_visitors,
}


def main() -> None:
    """Runs the role named on the command line under the supervisor with the given process id."""
    role, parent = sys.argv[1], int(sys.argv[2])
    environment = read_environment()
    die_with_parent(parent, environment.drain_deadline_s + 1.0)
    ROLES[role](environment)


if __name__ == "__main__":
    main()

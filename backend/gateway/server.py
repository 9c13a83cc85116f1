"""One gateway worker as a process: serves until SIGTERM, finishes or cuts what is open by the deadline, exits 0."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable

import uvicorn

from backend.environment import Environment
from backend.metrics.log import start_logging

_BACKLOG = 2048
_KEEPALIVE_S = 75
_ALLOCATIONS_PER_COLLECTION = 20_000
"""A call makes some hundred objects and next to no cycles; Python's default of 700 collects after every other call."""


def run_worker(
    environment: Environment, listener: socket.socket | None = None, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Serve on ``listener``, or bind the environment's address; returns when all calls are closed."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(environment, listener or _bind(environment), on_ready))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:  # no wheel for this platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(environment: Environment, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    from backend.wiring import build_worker  # noqa: PLC0415 - wiring builds on this package

    start_logging(environment.log_level)
    worker = build_worker(environment)
    server = uvicorn.Server(
        uvicorn.Config(
            worker.application,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEPALIVE_S,
            timeout_graceful_shutdown=max(1, int(environment.drain_deadline_s)),
        )
    )
    watches = (worker.live.watch(), worker.application.watch_stalls(), worker.gateway.metrics.watch())
    tasks = [asyncio.create_task(each) for each in watches]
    _stop_on_signals(server, worker.gateway)
    gc.collect()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION, 20, 20)
    gc.freeze()  # what was built now lives as long as the process; collections need not look at it
    serving = asyncio.create_task(server._serve(sockets=[listener]))  # noqa: SLF001 - serve() would take our signals
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    on_ready()
    try:
        await serving
    finally:
        for task in tasks:
            task.cancel()
        await worker.close()


def _stop_on_signals(server: uvicorn.Server, gateway: object) -> None:
    def stop() -> None:
        gateway.draining = True  # type: ignore[attr-defined]
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _bind(environment: Environment) -> socket.socket:
    host = environment.gateway_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if environment.workers > 1 and hasattr(socket, "SO_REUSEPORT"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, environment.gateway_port))
    os.set_inheritable(listener.fileno(), False)
    listener.listen(_BACKLOG)
    return listener

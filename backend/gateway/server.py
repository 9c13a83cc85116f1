"""One gateway worker as a process: serves until SIGTERM, finishes or cuts what is open by the deadline, exits 0."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import uvicorn

from backend.environment import Environment
from backend.gateway.batching import Batching
from backend.gateway.gateway import Gateway
from backend.gateway.http import Application
from backend.gateway.prefetching import Prefetching
from backend.gateway.protocol import Protocol
from backend.settings.live import LiveSettings
from db.engine import DatabaseError

log = logging.getLogger(__name__)

_BACKLOG = 2048
_KEEPALIVE_S = 75
_CUT_S = 2.0
_RETRY_S = 1.0
_SWITCH_S = 0.0005
"""A thread that writes behind the answers gives the interpreter up after this long; Python's default is 5 ms."""
_ALLOCATIONS_PER_COLLECTION = 20_000
"""A call makes some hundred objects and next to no cycles; Python's default of 700 collects after every other call."""


@dataclass(slots=True)
class Worker:
    """One gateway worker, ready to serve, and what it takes to end it."""

    application: Application
    gateway: Gateway
    live: LiveSettings
    prefetching: Prefetching
    batching: Batching
    closers: tuple[Callable[[], Awaitable[None] | None], ...]

    async def close(self) -> None:
        """Give everything back, in order."""
        for closer in self.closers:
            waiting = closer()
            if waiting is not None:
                await waiting


@dataclass(slots=True, frozen=True)
class Binding:
    """Where a worker listens: on a socket it was given, or on the environment's address."""

    environment: Environment
    listener: socket.socket | None = None


def serve(build: Callable[[], Worker], binding: Binding, on_ready: Callable[[], None]) -> None:
    """Build the worker inside its loop and serve until SIGTERM; returns when all calls are closed."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(build, binding, on_ready))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:  # no wheel for this platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(build: Callable[[], Worker], binding: Binding, on_ready: Callable[[], None]) -> None:
    listener = binding.listener or _bind(binding.environment)
    worker = await _build(build)
    server = _make_server(worker, binding.environment)
    watches = (
        worker.live.watch,
        worker.application.watch_stalls,
        worker.gateway.metrics.watch,
        worker.prefetching.watch,
        worker.batching.watch,
    )
    tasks = [asyncio.create_task(watch()) for watch in watches]
    _stop_on_signals(server, worker.gateway)
    sys.set_asyncgen_hooks(firstiter=None)  # every generator is closed where it is used; none need be listed
    gc.collect()
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION, 20, 20)
    gc.freeze()  # what was built now lives as long as the process; collections need not look at it
    serving = asyncio.create_task(server._serve(sockets=[listener]))  # noqa: SLF001 - serve() would take our signals
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    on_ready()
    try:
        await serving
        await asyncio.wait(tasks[-1:])  # lines of jobs drain beside the calls, within the same deadline
        await _closed(worker.gateway)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CUT_S)  # a call that was under way closes its entry
        await worker.close()


def _make_server(worker: Worker, environment: Environment) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            worker.application,
            http=Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEPALIVE_S,
            timeout_graceful_shutdown=max(1, int(environment.drain_deadline_s)),
        )
    )


async def _closed(gateway: Gateway) -> None:
    """Wait until the calls that the deadline cut off have closed their entries."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CUT_S):
            while gateway.open_calls:  # noqa: ASYNC110 - counted, not signalled: it is needed once in a lifetime
                await asyncio.sleep(0.01)


async def _build(build: Callable[[], Worker]) -> Worker:
    """The worker; while the database is away it is tried again each second, and nothing is answered meanwhile."""
    while True:
        try:
            return build()
        except DatabaseError as error:
            log.warning("the database does not answer yet: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_S)


def _stop_on_signals(server: uvicorn.Server, gateway: Gateway) -> None:
    def stop() -> None:
        gateway.draining = True
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

"""Connections to deployments, kept open between calls; nothing of a call stays on them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from aiohappyeyeballs import start_connection

from backend.deadlines import Deadlines
from backend.upstream.connection import Connection

KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection, so that no request meets a closed one."""
_SECOND_ADDRESS_AFTER_S = 0.25


class Origin(NamedTuple):
    """Where a connection leads; it is used again for the same three only."""

    host: str
    port: int
    tls: bool


class Connections:
    """The pool of one worker."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._idle: dict[Origin, deque[tuple[float, Connection]]] = {}
        self._tls: ssl.SSLContext | None = None

    async def take(self, origin: Origin, timeout_s: float) -> Connection:
        """An idle connection or a new one; raises ``TimeoutError`` or ``OSError`` when none can be made in time."""
        idle = self._idle.get(origin)
        oldest = time.monotonic() - KEEPALIVE_S
        while idle:
            since, connection = idle.pop()
            if since > oldest and connection.idle:
                return connection
            connection.close()
        with self._deadlines.within(timeout_s):
            return await self._dial(origin)

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep the connection for another call when it can carry one; it is closed otherwise."""
        if not connection.let_go():
            return
        idle = self._idle.get(origin)
        if idle is None:
            idle = self._idle[origin] = deque()
        idle.append((time.monotonic(), connection))
        if idle[0][0] < time.monotonic() - KEEPALIVE_S:
            idle.popleft()[1].close()

    def close(self) -> None:
        """Close every idle connection."""
        for idle in self._idle.values():
            for _, connection in idle:
                connection.close()
        self._idle.clear()

    async def _dial(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        opened = await start_connection(found, happy_eyeballs_delay=_SECOND_ADDRESS_AFTER_S, interleave=1)
        with suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = origin.host if origin.tls else None
        try:
            _, connection = await loop.create_connection(
                Connection, sock=opened, ssl=self._context() if origin.tls else None, server_hostname=name
            )
        except BaseException:
            opened.close()
            raise
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

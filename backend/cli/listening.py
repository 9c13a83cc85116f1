"""Listening sockets that the supervisor opens and its workers accept from, so that a restart drops no connection."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from backend.cli.output import CommandFailed

BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and the environment variable that says so."""

    host: str
    port: int
    variable: str


def require_free(address: Address) -> None:
    """Raises ``CommandFailed`` naming port and variable when somebody already listens there."""
    with _bind(address, shared=False):
        pass


def open_listeners(address: Address, count: int) -> list[socket.socket]:
    """One listening socket per worker on the same port (``SO_REUSEPORT``); where the kernel does not spread
    connections over them, one socket for all. Raises ``CommandFailed``.
    """
    require_free(address)
    if sys.platform != "linux":
        return [_listen(address)] * count
    return [_listen(address) for _ in range(count)]


def _listen(address: Address) -> socket.socket:
    listener = _bind(address, shared=True)
    listener.listen(BACKLOG)
    return listener


def _bind(address: Address, *, shared: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        raise CommandFailed(f"Cannot listen on {address.host}: no such address on this machine.") from None
    family, kind, protocol, _, target = found[0]
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared and hasattr(socket, "SO_REUSEPORT"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        opened.bind(target)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        raise CommandFailed(
            f"Port {address.port} on {address.host} cannot be used ({reason}). "
            f"Stop what listens there, or set {address.variable} to another port."
        ) from None
    return opened

"""Small questions to our own servers over loopback: does it answer, what does it say."""

from __future__ import annotations

import http.client

_PATIENCE_S = 2.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, never bound here


def reachable_host(host: str) -> str:
    """The address to ask for a server that binds ``host``."""
    return _EVERY_ADDRESS.get(host, host)


def show_address(host: str, port: int) -> str:
    """The URL of a server that binds ``host``, without a path."""
    host = reachable_host(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask(host: str, port: int, path: str) -> tuple[int, bytes] | None:
    """Status and body of a GET; None when nobody answers in time."""
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(65_536)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET answers 200."""
    found = ask(host, port, path)
    return found is not None and found[0] == 200

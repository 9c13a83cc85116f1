"""The control endpoints of this installation's gateway, asked as its console asks them."""

from __future__ import annotations

import http.client
from typing import Any

from backend.cli.database import read_settled_environment
from backend.cli.health import reachable_host, show_address
from backend.cli.output import CommandFailed

_PATIENCE_S = 120.0


def ask_control(method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What a control endpoint answers. Raises ``CommandFailed`` when no gateway runs, and with what it refuses."""
    import orjson

    from backend.auth.ring import console_credential

    environment = read_settled_environment()
    headers = {"Authorization": f"Bearer {console_credential(environment.key_secret())}"}
    host, port = environment.gateway_host, environment.gateway_port
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=_PATIENCE_S)
    try:
        connection.request(method, path, None if body is None else orjson.dumps(body), headers)
        response = connection.getresponse()
        status, raw = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise CommandFailed(
            f"No gateway answers at {show_address(host, port)} ({type(error).__name__}). "
            "`governor up` or `governor gateway` runs one."
        ) from None
    finally:
        connection.close()
    return _read(status, raw, show_address(host, port))


def _read(status: int, raw: bytes, address: str) -> dict[str, Any]:
    import orjson

    try:
        document = orjson.loads(raw)
    except ValueError:
        document = None
    if status == 200 and isinstance(document, dict):
        return document
    error = document.get("error") if isinstance(document, dict) else None
    if status == 401:
        raise CommandFailed(f"The gateway at {address} is not that of this data folder: it has another secret.")
    if not isinstance(error, dict) or "message" not in error:
        raise CommandFailed(f"What answers at {address} is no gateway of this release (status {status}).")
    raise CommandFailed(str(error["message"]))

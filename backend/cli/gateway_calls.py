"""Requests to the running gateway as any of its callers makes them: with a key, in OpenAI's shape."""

from __future__ import annotations

import http.client
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from backend.cli.database import read_settled_environment
from backend.cli.health import reachable_host, show_address
from backend.cli.output import CommandFailed

Key = Annotated[
    str, typer.Option("--key", envvar="GOVERNOR_API_KEY", help="A key of the gateway; none while it has no keys.")
]

_PATIENCE_S = 120.0


class GatewayAway(CommandFailed):
    """Nobody answers at the gateway's address."""


@dataclass(frozen=True, slots=True)
class GatewayCaller:
    """Asks the gateway of this installation with one key."""

    key: str

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The object that a route answers. Raises ``GatewayAway``, or ``CommandFailed`` with what it refuses."""
        import orjson

        raw = b"" if body is None else orjson.dumps(body)
        document: dict[str, Any] = orjson.loads(self._send(method, path, raw, "application/json"))
        return document

    def read(self, path: str) -> bytes:
        """What a route answers, as it is. Raises as ``ask``."""
        return self._send("GET", path, b"", "application/json")

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Send a file for a batch. Raises as ``ask``."""
        import orjson

        mark = uuid.uuid4().hex
        safe = name.replace('"', "%22").replace("\r", " ").replace("\n", " ")
        purpose = f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n\r\n'
        body = (purpose + head).encode() + content + f"\r\n--{mark}--\r\n".encode()
        document: dict[str, Any] = orjson.loads(
            self._send("POST", "/v1/files", body, f"multipart/form-data; boundary={mark}")
        )
        return document

    def _send(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        environment = read_settled_environment()
        host, port = environment.gateway_host, environment.gateway_port
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        connection = http.client.HTTPConnection(reachable_host(host), port, timeout=_PATIENCE_S)
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            status, raw = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise GatewayAway(
                f"No gateway answers at {show_address(host, port)} ({type(error).__name__}). "
                "`governor up` or `governor gateway` runs one."
            ) from None
        finally:
            connection.close()
        if status != 200:
            raise CommandFailed(_read_refusal(status, raw))
        return raw


def _read_refusal(status: int, raw: bytes) -> str:
    import orjson

    try:
        return str(orjson.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"What answers at the gateway's address is no gateway of this release (status {status})."

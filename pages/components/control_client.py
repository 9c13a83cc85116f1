"""The console before the gateway's control endpoints: one question, one answer, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from pages.components import data
from pages.components.gateway_client import read_error

_TIMEOUT = httpx2.Timeout(3.0, read=30.0)


class GatewaySilent(Exception):
    """No gateway answers, or it refuses; the message is for people."""


def ask_control(method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a control endpoint of this installation's gateway says. Raises ``GatewaySilent``."""
    console = data.console()
    headers = {"authorization": f"Bearer {console.control_credential}"}
    try:
        with httpx2.Client(timeout=_TIMEOUT, trust_env=False) as client:
            response = client.request(method, f"{console.gateway_url}{path}", headers=headers, json=body)
        found = response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, ValueError) as error:
        raise GatewaySilent(f"No gateway answers at {console.gateway_url} ({type(error).__name__}).") from None
    if not isinstance(found, dict):
        raise GatewaySilent(read_error(response.status_code, response.content))
    return found

"""A deployment's refusal as the error a caller sees: its own words where they help, never our credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from backend.errors import UpstreamError, UpstreamRefused

_MAX_WORDS = 2000
_HIDDEN = frozenset({401, 403, 407})
"""Statuses that speak of our credential, not of the caller's."""


def refusal(deployment: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamRefused:
    """The refusal for a response that was not 200; the upstream's body is kept when it has OpenAI's shape."""
    if status in _HIDDEN:
        error = UpstreamRefused(f"Deployment {deployment} refused Governor's credential.", status=status, body=None)
        error.status, error.code = 502, "upstream_auth"
        return error
    if not 400 <= status < 600:
        error = UpstreamRefused(f"Deployment {deployment} answered with status {status}.", status=status, body=None)
        error.status = 502
        return error
    shaped = _shaped(body)
    message = str(shaped["message"])[:_MAX_WORDS] if shaped else f"Deployment {deployment} answered {status}."
    kept = orjson.dumps({"error": shaped}) if shaped else None
    return UpstreamRefused(message, status=status, body=kept, retry_after_ms=read_retry_after(headers))


def in_band_error(deployment: str, error: Any) -> UpstreamError:
    """An error that came inside a 200; its words are kept, bounded."""
    words = error.get("message") if isinstance(error, dict) else error
    return UpstreamError(f"Deployment {deployment} failed: {str(words)[:_MAX_WORDS]}")


def read_retry_after(headers: Mapping[str, str]) -> int | None:
    """Milliseconds from ``retry-after-ms`` or ``retry-after`` (seconds); None when absent or a date."""
    for name, factor in (("retry-after-ms", 1), ("retry-after", 1000)):
        try:
            value = float(headers.get(name, ""))
        except ValueError:
            continue
        if 0 <= value * factor < 86_400_000:
            return int(value * factor)
    return None


def _shaped(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    shaped = {**error, "message": error["message"][:_MAX_WORDS]}
    for name in ("type", "param", "code"):
        shaped.setdefault(name, None)
    return shaped

"""Whether an engine works: a real token within a deadline, and calls that do not wait while nothing runs."""

from __future__ import annotations

import http.client
import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from backend.engine.reading import Reading

_PROMPT = "1"
_MOST_BYTES = 1024 * 1024


class NoToken(Exception):
    """The engine did not generate a token in time; the message says what came instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine answers (up to /v1), under which model name, and the variable with its key."""

    url: str
    model: str
    api_key_env: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a request to it."""
        key = os.environ.get(self.api_key_env) if self.api_key_env else None
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def generate_token(place: Place, deadline_s: float) -> float:
    """Milliseconds until one token was generated. Raises ``NoToken``.

    The deadline holds for connecting and for every wait for bytes; an answer that trickles is cut at twice its length.
    """
    began = time.monotonic()
    body = orjson.dumps({"model": place.model, "prompt": _PROMPT, "max_tokens": 1, "temperature": 0})
    parts = urlsplit(place.url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=deadline_s)
    try:
        connection.request("POST", f"{parts.path}/completions", body, place.headers)
        response = connection.getresponse()
        raw = _read(response, began + 2 * deadline_s)
    except TimeoutError:
        raise NoToken(f"no token within {deadline_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoToken(f"{type(error).__name__}: {error}"[:200]) from None
    finally:
        connection.close()
    _expect_token(response.status, raw)
    return (time.monotonic() - began) * 1000


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read1(65_536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES or time.monotonic() > until:
            raise NoToken("an answer without end")
    return b"".join(parts)


def _expect_token(status: int, raw: bytes) -> None:
    if status != 200:
        raise NoToken(f"status {status}")
    try:
        answer: Any = orjson.loads(raw)
        tokens = answer["usage"]["completion_tokens"]
    except (ValueError, LookupError, TypeError):
        raise NoToken("an answer that is no completion") from None
    if not isinstance(tokens, int) or tokens < 1:
        raise NoToken("an answer without a token")


@dataclass(slots=True)
class WedgeDetector:
    """Notices that calls wait, none runs and no token comes, for longer than ``wedge_s``; fed with readings."""

    wedge_s: float
    _since: float | None = None
    _tokens: float = -1.0

    def notice(self, reading: Reading | None, now_s: float) -> bool:
        """Whether the engine is wedged at this moment (seconds of any steady clock); no reading proves nothing."""
        if reading is None:
            self._since = None
            return False
        tokens = reading.counters.get("completion_tokens", 0.0) + reading.counters.get("prompt_tokens", 0.0)
        stuck = reading.gauges.get("running") == 0 and reading.gauges.get("waiting", 0) > 0 and tokens == self._tokens
        self._tokens = tokens
        if not stuck:
            self._since = None
            return False
        self._since = now_s if self._since is None else self._since
        return now_s - self._since >= self.wedge_s


def made_progress(before: Reading | None, after: Reading | None) -> bool:
    """Whether tokens came between two readings: an engine that is only busy is not ill."""
    if before is None or after is None:
        return False
    counted = ("completion_tokens", "prompt_tokens")
    return any(after.counters.get(name, 0.0) > before.counters.get(name, 0.0) for name in counted)

"""One JSON line per call on standard error: numbers and names, no bodies, no secrets."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from select import PIPE_BUF
from typing import Any

import orjson

from backend.call import Entry

_MOST_TRACE = 3000
"""Characters of a traceback in one line: a failure must not cost more than a success (FAILURES C12)."""


def log_calls(entries: Iterable[Entry]) -> None:
    """Write a line for each call; a log that cannot be written never fails a call."""
    if _calls.isEnabledFor(logging.INFO):
        for lines in _gather([_encode(_describe(entry)) for entry in entries]):
            _write(lines)


def _describe(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.started_at,
        "event": "call",
        "call_id": entry.id,
        "status": entry.status,
        "http_status": entry.http_status,
        "error_code": entry.error_code,
        "endpoint": entry.endpoint,
        "model": entry.model,
        "deployment": entry.deployment,
        "cache": entry.cache_kind,
        "key_id": entry.key_id,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        "cost_nusd": entry.cost_nusd,
        "latency_ms": round(entry.latency_ms or 0.0, 3),
        "overhead_ms": round(entry.overhead_ms or 0.0, 3),
        "attempts": entry.attempts,
        "settings_version": entry.settings_version,
    }


def _encode(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        return json.dumps(line, default=str, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _gather(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in few writes, none longer than a pipe takes whole: another worker's line never falls into one of these."""
    gathered, size = list[bytes](), 0
    for line in lines:
        if gathered and size + len(line) > PIPE_BUF:
            yield b"".join(gathered)
            gathered, size = [], 0
        gathered.append(line)
        size += len(line)
    yield b"".join(gathered)


def _write(lines: bytes) -> None:
    """As few writes as the system takes them in."""
    with contextlib.suppress(OSError):
        while lines:
            lines = lines[os.write(_FD, lines) :]


class JsonLines(logging.Handler):
    """Python's own log records in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one JSON line, its traceback bounded."""
        line: dict[str, Any] = {
            "at": time.time_ns() // 1_000_000,
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:2000],
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["trace"] = "".join(traceback.format_exception(record.exc_info[1]))[-_MOST_TRACE:]
        _write(_encode(line))


_FD = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
_calls = logging.getLogger("governor.calls")


def start_logging(level: str) -> None:
    """Send every record of this process to standard error as JSON; calls are logged at info and below."""
    root = logging.getLogger()
    root.handlers[:] = [JsonLines()]
    root.setLevel(level.upper())
    logging.captureWarnings(True)

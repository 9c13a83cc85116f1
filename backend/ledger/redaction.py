"""What of a captured body is kept: patterns blanked out, then cut to size."""

from __future__ import annotations

import logging
import re

from backend.ledger.records import Payload
from backend.settings.knobs import LedgerSettings
from db.bulk import Row

BLANK = b"[redacted]"

log = logging.getLogger("governor.ledger")


class Redaction:
    """The rules in force for captured bodies, compiled once per version of the settings."""

    def __init__(self, settings: LedgerSettings) -> None:
        self.settings = settings
        self._most = settings.capture_max_kb * 1024
        self._patterns = [_compile(each) for each in settings.redact]

    def row(self, payload: Payload) -> Row:
        """The payload as it is stored, in column order."""
        request, cut_request = self._reduce(payload.request)
        response, cut_response = self._reduce(payload.response)
        return payload.call_id, request, response, cut_request or cut_response, payload.captured_at

    def _reduce(self, body: bytes) -> tuple[bytes, bool]:
        for pattern in self._patterns:
            body = BLANK if pattern is None else pattern.sub(BLANK, body)
        return body[: self._most], len(body) > self._most


def _compile(pattern: str) -> re.Pattern[bytes] | None:
    """None for a pattern that is wrong: then nothing of a body is kept, rather than what it was meant to hide."""
    try:
        return re.compile(pattern.encode())
    except re.error:
        log.critical("a redaction pattern is not a regular expression; bodies are blanked out: %r", pattern)
        return None

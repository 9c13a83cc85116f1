"""Knobs of the ledger: durability, the spool, captured payloads."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from backend.settings.knobs.section import Section, knob


class LedgerSettings(Section):
    """How a call is made durable, and what is kept of it."""

    durability: Literal["process", "power"] = knob(
        "process", "Durability", "Rows survive the death of our processes, or also a power cut (fsync)."
    )
    spool_cap_mb: int = knob(
        2048, "Spool cap", "Megabytes of undrained records per machine; above it calls get 503.", ge=8, le=1_048_576
    )
    headroom_mb: int = knob(64, "Disk headroom", "Free megabytes below which calls get 503.", ge=1, le=1_048_576)
    capture: bool = knob(False, "Capture payloads", "Keep request and answer bodies; off: numbers only.")
    capture_max_kb: int = knob(256, "Largest payload", "Bodies above this many kilobytes are cut.", ge=1, le=16_384)
    capture_days: int = knob(14, "Payload retention", "Days captured bodies are kept.", ge=1, le=3650)
    redact: tuple[str, ...] = knob((), "Redact", "Regular expressions blanked out of captured bodies.")
    calls_days: int = knob(400, "Call retention", "Days call rows are kept; rollups stay.", ge=1, le=36_500)

    @field_validator("redact")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return patterns

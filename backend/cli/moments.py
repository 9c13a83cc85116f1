"""Moments as people write them: ISO 8601 (UTC unless it says otherwise), `24h` ago, or epoch milliseconds."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import typer

_AGO = re.compile(r"(\d+)(s|m|h|d|w)")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_EPOCH_MS = re.compile(r"\d{11,14}")


def read_moment(text: str) -> int:
    """Epoch milliseconds. Raises ``typer.BadParameter``."""
    if ago := _AGO.fullmatch(text):
        return time.time_ns() // 1_000_000 - int(ago[1]) * _UNIT_MS[ago[2]]
    if _EPOCH_MS.fullmatch(text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: write 2026-11-20, 2026-11-20T08:30Z or 24h.") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

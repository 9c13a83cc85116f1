"""What an engine said last of why it ended: one line of its log, for people."""

from __future__ import annotations

import re
from pathlib import Path

_MOST_BYTES = 64 * 1024
_LONGEST = 200
_NAMED = re.compile(r"\b[A-Za-z_.0-9]+(Error|Exception)\b:? ?.*")
_EMPTY = re.compile(r"(See|The) .*(root cause|stack trace|above)|Engine core initialization failed|EngineDeadError")
"""Lines that only point to others."""


def find_last_words(log: Path) -> str:
    """The last line that names an error and says something of it; empty where there is none."""
    try:
        with log.open("rb") as said:
            said.seek(max(0, log.stat().st_size - _MOST_BYTES))
            text = said.read().decode(errors="replace")
    except OSError:
        return ""
    found = [match[0].strip() for line in text.splitlines() if (match := _NAMED.search(line))]
    telling = [line for line in found if not _EMPTY.search(line)]
    return (telling or found or [""])[-1][:_LONGEST]


def with_last_words(why: str, log: Path) -> str:
    """A reason with what the engine itself said of it."""
    words = find_last_words(log)
    return f"{why} ({words})" if words else why

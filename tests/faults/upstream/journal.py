"""the upstream journal: one line when a request is accepted, one when it has ended."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass
class Acceptance:
    """One request the upstream accepted, and what became of it.

    `end` is open | complete | faulty | refused | died | reset | peer_left | stopped: only `complete` is an honest
    full answer. `stated` is the usage told to the caller, `billed` what a provider would put on its invoice.
    """

    id: str
    marker: str | None
    ordinal: int
    model: str
    endpoint: str
    stream: bool
    accepted_at: float
    prompt_tokens: int
    status: int | None = None
    end: str = "open"
    stated: dict[str, Any] | None = None
    billed: dict[str, int] | None = None
    words: int = 0
    bytes_sent: int = 0
    content_sha: str | None = None
    peer_left_at: float | None = None
    ended_at: float | None = None


class UpstreamJournal:
    """Append-only JSON lines; a line is one write call on an O_APPEND file, so a kill never leaves half of two."""

    def __init__(self, path: Path, fsync: bool = False) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._fsync = fsync
        self._ordinals: dict[str, int] = {}

    def next_ordinal(self, marker: str | None) -> int:
        """Count the attempts seen for a marker, starting at 1."""
        if marker is None:
            return 1
        self._ordinals[marker] = self._ordinals.get(marker, 0) + 1
        return self._ordinals[marker]

    def accept(self, acceptance: Acceptance) -> None:
        """Write the acceptance before anything is answered."""
        self._write(vars(acceptance))

    def end(self, acceptance: Acceptance) -> None:
        """Write how the request ended; the later line of an id replaces the earlier one."""
        acceptance.ended_at = time.time()
        self._write(vars(acceptance))

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file, ENCODER.encode(line).encode() + b"\n")
        if self._fsync:
            os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def read_upstream_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal: one record per upstream id in order of acceptance, the last line of an id wins."""
    records: dict[str, dict[str, Any]] = {}
    for line in path.read_bytes().splitlines():
        record = json.loads(line)
        records[record["id"]] = record
    return list(records.values())

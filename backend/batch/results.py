"""The files a batch leaves: a line of JSON for every request, answers in one, everything else in the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from db.files import PART_BYTES, cut_parts
from db.job_lines import LineOutcome
from db.jobs import JobRow

UNDONE = {
    "batch_cancelled": "This request was not executed: the batch was cancelled before its turn.",
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_budget_reached": "This request was not executed: what the batch's budget leaves does not pay for it.",
    "batch_cost_unknown": "This request was not executed: what an earlier one cost is not known.",
}
"""Why a request never came to its turn."""


@dataclass(slots=True)
class ResultFile:
    """One of a job's two files as it grows; its id follows from the job: a later holder writes it anew."""

    id: str
    size: int = 0
    parts: int = 0
    _lines: list[bytes] = field(default_factory=list)
    _waiting_bytes: int = 0

    def add(self, line: bytes) -> None:
        """One more line, without its end."""
        self._lines += [line, b"\n"]
        self._waiting_bytes += len(line) + 1

    @property
    def is_due(self) -> bool:
        """Whether enough is gathered for a part."""
        return self._waiting_bytes >= PART_BYTES

    def take(self) -> Iterator[tuple[int, bytes]]:
        """What is gathered, as numbered parts; it counts as written."""
        gathered, self._lines, self._waiting_bytes = b"".join(self._lines), [], 0
        for part in cut_parts(gathered):
            yield self.parts, part
            self.parts += 1
            self.size += len(part)


@dataclass(frozen=True, slots=True)
class Result:
    """A request's line, the noun of the file it belongs to, and whether it never came to its turn."""

    noun: str
    line: bytes
    is_undone: bool = False


def name_file(job: JobRow, noun: str) -> str:
    """The id of a job's file; it sorts by the time the job came to its end."""
    at = job.finalizing_at or job.cancelling_at or job.created_at
    return f"file-{at:012x}{sha256(f'{job.id} {noun}'.encode()).hexdigest()[:20]}"


def compose(job_id: str, outcome: LineOutcome, why_undone: str) -> Result:
    """What a request came to; one without an outcome gets the code ``why_undone``."""
    line = {"id": f"batch_req_{job_id.removeprefix('batch_')}_{outcome.number}", "custom_id": outcome.custom_id}
    if outcome.answer is None or outcome.state not in ("completed", "failed"):
        error = {"code": why_undone, "message": UNDONE[why_undone]}
        return Result("error", orjson.dumps(line | {"response": None, "error": error}), is_undone=True)
    response = {"status_code": outcome.status_code, "request_id": outcome.call_id, "body": _read(outcome.answer)}
    text = orjson.dumps(line | {"response": response, "error": None})
    return Result("output" if outcome.state == "completed" else "error", text)


def _read(answer: bytes) -> Any:
    """The body as it came; text where it is no JSON, or nested too deeply to be written again."""
    try:
        return orjson.Fragment(orjson.dumps(orjson.loads(answer)))
    except (ValueError, TypeError):
        return {"text": answer.decode(errors="replace")}

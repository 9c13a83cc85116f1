"""The files a batch leaves: a line of JSON for every request, answers in one, everything else in the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from db.job_lines import LineOutcome

UNDONE = {
    "batch_cancelled": "This request was not executed: the batch was cancelled before its turn.",
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_budget_reached": "This request was not executed: the batch's calls cost as much as its budget allows.",
}
"""Why a request never came to its turn."""


@dataclass(slots=True)
class Results:
    """Both files; ``undone`` counts requests that never came to their turn."""

    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    undone: int = 0


def compose(job_id: str, outcomes: Iterable[LineOutcome], why_undone: str) -> Results:
    """Write both files' lines; requests without an outcome get the code ``why_undone``."""
    results = Results()
    for outcome in outcomes:
        line = {"id": f"batch_req_{job_id.removeprefix('batch_')}_{outcome.number}", "custom_id": outcome.custom_id}
        if outcome.answer is None or outcome.state not in ("completed", "failed"):
            results.undone += 1
            error = {"code": why_undone, "message": UNDONE[why_undone]}
            results.errors.append(orjson.dumps(line | {"response": None, "error": error}))
            continue
        response = {"status_code": outcome.status_code, "request_id": outcome.call_id, "body": _read(outcome.answer)}
        text = orjson.dumps(line | {"response": response, "error": None})
        (results.output if outcome.state == "completed" else results.errors).append(text)
    return results


def join(lines: list[bytes]) -> bytes:
    """Lines as the content of a file."""
    return b"".join(line + b"\n" for line in lines)


def _read(answer: bytes) -> Any:
    """The body as it came; text where an upstream's refusal was no JSON."""
    try:
        return orjson.Fragment(orjson.dumps(orjson.loads(answer)))
    except ValueError:
        return {"text": answer.decode(errors="replace")}

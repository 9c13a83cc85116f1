"""What failed in a batch job, first lines first: mistakes of its file, lines that ended so, lines left undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from db.bounded import Connection
from db.files import read_part
from db.job_lines import LineOutcome
from db.job_reads import read_failed_lines
from db.jobs import JobRow

_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """One mistake; ``line`` counts from 1, None for the job as a whole; ``call_id`` is None where no call was made."""

    line: int | None
    custom_id: str | None
    code: str | None
    message: str
    status_code: int | None = None
    call_id: str | None = None


def read_failures(connection: Connection, job: JobRow, limit: int) -> tuple[Failure, ...]:
    """What is wrong with the job itself, then its lines: out of the error file once that is written."""
    return tuple(islice(_find_all(connection, job, limit), limit))


def _find_all(connection: Connection, job: JobRow, limit: int) -> Iterator[Failure]:
    for problem in (orjson.loads(job.errors or "null") or {}).get("data", ()):
        yield Failure(problem["line"], None, problem["code"], problem["message"])
    if job.error_file_id is None:
        yield from map(_of_line, read_failed_lines(connection, job.id, limit))
        return
    first = read_part(connection, job.error_file_id, 0) or b""
    yield from (_of_result(orjson.loads(line)) for line in _first_lines(first, limit))


def _first_lines(part: bytes, limit: int) -> Iterator[bytes]:
    """Whole lines at the beginning of a part; its last one may go on in the next."""
    begin = 0
    while limit and (end := part.find(b"\n", begin)) >= 0:
        yield part[begin:end]
        begin, limit = end + 1, limit - 1


def _of_line(line: LineOutcome) -> Failure:
    code, message = _say(_read(line.answer))
    return Failure(line.number, line.custom_id, code, message, line.status_code, line.call_id)


def _of_result(result: dict[str, Any]) -> Failure:
    response = result["response"] or {}
    code, message = _say(result["error"] or response.get("body"))
    number = int(str(result["id"]).rpartition("_")[2])
    return Failure(number, result["custom_id"], code, message, response.get("status_code"), response.get("request_id"))


def _read(answer: bytes | None) -> Any:
    try:
        return orjson.loads(answer or b"null")
    except ValueError:
        return (answer or b"").decode(errors="replace")


def _say(body: Any) -> tuple[str | None, str]:
    """Code and message of an error's body, whatever shape the upstream gave it."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return None, str(error or "")[:_LONGEST_MESSAGE]
    code, message = error.get("code") or error.get("type"), error.get("message")
    said = message if isinstance(message, str) else orjson.dumps(error).decode()
    return None if code is None else str(code), said[:_LONGEST_MESSAGE]

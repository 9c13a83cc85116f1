"""Lines of a batch job: written once, begun before they go out, ended exactly once, begun anew after a loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from db.tables_batch import job_lines


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line to be done: its number in the file, who it is to its owner, the request's body."""

    number: int
    custom_id: str
    body: bytes
    tries: int = 0


@dataclass(frozen=True, slots=True)
class LineEnd:
    """What became of a line; ``answer`` is the response's body."""

    number: int
    state: str
    call_id: str | None
    status_code: int
    answer: bytes


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """A line as the job's files show it; ``answer`` None: it never came to its turn."""

    number: int
    custom_id: str
    state: str
    call_id: str | None
    status_code: int | None
    answer: bytes | None


def insert_lines(connection: Connection, job_id: str, lines: Sequence[LineRow]) -> None:
    """Write the lines of a job in place of any it has: validation may have been cut off before."""
    connection.execute(delete(job_lines).where(job_lines.c.job_id == job_id))
    if lines:
        rows = [asdict(line) | {"job_id": job_id, "state": "waiting"} for line in lines]
        connection.execute(insert(job_lines), rows)


def begin_lines(connection: Connection, job_id: str, limit: int) -> list[LineRow]:
    """The next waiting lines, marked as begun."""
    waiting = and_(job_lines.c.job_id == job_id, job_lines.c.state == "waiting")
    columns = (job_lines.c.number, job_lines.c.custom_id, job_lines.c.body, job_lines.c.tries)
    query = select(*columns).where(waiting).order_by(job_lines.c.number).limit(limit)
    found = [LineRow(**row) for row in connection.execute(query).mappings()]
    if found:
        mine = and_(job_lines.c.job_id == job_id, job_lines.c.number.in_([line.number for line in found]))
        connection.execute(update(job_lines).where(mine).values(state="begun", tries=job_lines.c.tries + 1))
    return found


def end_lines(connection: Connection, job_id: str, ends: Sequence[LineEnd]) -> list[LineEnd]:
    """Write how lines ended; returns those that were begun, for a line ends only once."""
    begun = and_(job_lines.c.job_id == job_id, job_lines.c.number == bindparam("n"), job_lines.c.state == "begun")
    query = update(job_lines).where(begun)
    return [
        end
        for end in ends
        if connection.execute(
            query.values(
                {name: getattr(end, name) for name in ("state", "call_id", "status_code", "answer")},
            ),
            {"n": end.number},
        ).rowcount
    ]


def return_lines(connection: Connection, job_id: str) -> int:
    """Let begun lines wait again: whoever began them is gone; how many."""
    begun = and_(job_lines.c.job_id == job_id, job_lines.c.state == "begun")
    return connection.execute(update(job_lines).where(begun).values(state="waiting")).rowcount


def read_outcomes(connection: Connection, job_id: str) -> Iterator[LineOutcome]:
    """Every line in the order of its file."""
    names = ("number", "custom_id", "state", "call_id", "status_code", "answer")
    query = select(*(job_lines.c[name] for name in names)).where(job_lines.c.job_id == job_id)
    for row in connection.execute(query.order_by(job_lines.c.number)).mappings():
        yield LineOutcome(**row)


def delete_lines(connection: Connection, job_id: str) -> None:
    """Forget the lines of a job that has its files."""
    connection.execute(delete(job_lines).where(job_lines.c.job_id == job_id))

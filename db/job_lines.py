"""Lines of a batch job: written once, begun before they go out, ended exactly once, begun anew after a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from db.tables_batch import job_lines, jobs


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line to be done: its number in the file, who it is to its owner, the request's body."""

    number: int
    custom_id: str
    body: bytes
    tries: int = 0
    bound_nusd: int | None = None
    """The most its call can cost; None where nobody knows, or nobody asked."""
    reserved_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class LineEnd:
    """What became of a line; ``answer`` is the response's body. One that was given back is ``waiting`` again."""

    number: int
    state: str
    call_id: str | None = None
    status_code: int | None = None
    answer: bytes | None = None
    cost_nusd: int | None = 0
    """What its calls cost, or can have cost at most; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class Purse:
    """The money of a job with a budget: what it has left, and what a line without a bound is taken to cost."""

    left_nusd: int
    usual_nusd: int | None = None


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


def begin_lines(connection: Connection, job_id: str, limit: int, purse: Purse | None = None) -> list[LineRow]:
    """The next waiting lines, as far as the money for them is there, marked as begun."""
    waiting = and_(job_lines.c.job_id == job_id, job_lines.c.state == "waiting")
    columns = [job_lines.c[name] for name in ("number", "custom_id", "body", "tries", "bound_nusd")]
    query = select(*columns).where(waiting).order_by(job_lines.c.number).limit(limit)
    found = [LineRow(**row) for row in connection.execute(query).mappings()]
    if purse is not None:
        found = _afford(found, purse, sum_reserved(connection, job_id))
    if found:
        mine = and_(job_lines.c.job_id == job_id, job_lines.c.number == bindparam("n"))
        begun = (
            update(job_lines)
            .where(mine)
            .values(state="begun", tries=job_lines.c.tries + 1, reserved_nusd=bindparam("reserved"))
        )
        connection.execute(begun, [{"n": line.number, "reserved": line.reserved_nusd} for line in found])
    return found


def sum_reserved(connection: Connection, job_id: str) -> list[int | None]:
    """What was set aside for each line that is begun; None where nobody knew."""
    begun = and_(job_lines.c.job_id == job_id, job_lines.c.state == "begun")
    return list(connection.scalars(select(job_lines.c.reserved_nusd).where(begun)))


def _afford(lines: Sequence[LineRow], purse: Purse, under_way: Sequence[int | None]) -> list[LineRow]:
    """Lines the purse pays for; one of unknown cost goes out alone, for what it costs tells what others may."""
    taken: list[LineRow] = []
    left_nusd = purse.left_nusd - sum(each or 0 for each in under_way)
    alone = None in under_way
    for line in lines:
        need = line.bound_nusd if line.bound_nusd is not None else purse.usual_nusd
        alone = alone or need is None
        if (alone and (taken or under_way)) or left_nusd <= 0 or (need or 0) > left_nusd:
            break
        taken.append(replace(line, reserved_nusd=need))
        left_nusd -= need or 0
    return taken


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


def return_lines(connection: Connection, job_id: str, held: Sequence[int] = ()) -> list[int | None]:
    """Let begun lines that are in nobody's hands wait again; what was set aside for each."""
    lost = and_(job_lines.c.job_id == job_id, job_lines.c.state == "begun", job_lines.c.number.not_in(held))
    reserved = list(connection.scalars(select(job_lines.c.reserved_nusd).where(lost)))
    if reserved:
        connection.execute(update(job_lines).where(lost).values(state="waiting"))
    return reserved


def read_outcomes(connection: Connection, job_id: str, after: int, limit: int) -> list[LineOutcome]:
    """Lines after a number, in the order of their file."""
    names = ("number", "custom_id", "state", "call_id", "status_code", "answer")
    query = select(*(job_lines.c[name] for name in names)).order_by(job_lines.c.number).limit(limit)
    mine = and_(job_lines.c.job_id == job_id, job_lines.c.number > after)
    return [LineOutcome(**row) for row in connection.execute(query.where(mine)).mappings()]


def delete_lines(connection: Connection, job_id: str) -> None:
    """Forget the lines of a job that has its files."""
    connection.execute(delete(job_lines).where(job_lines.c.job_id == job_id))


def delete_abandoned(connection: Connection, failed_before: int) -> int:
    """Forget the lines of jobs that failed before a time (epoch ms); how many lines."""
    over = select(jobs.c.id).where(jobs.c.status == "failed", jobs.c.failed_at <= failed_before)
    return connection.execute(delete(job_lines).where(job_lines.c.job_id.in_(over))).rowcount

"""What engines said of themselves over time: added by the keeper, read by charts, deleted when old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, literal_column, select

from db.bulk import Upsert
from db.tables_engine import engine_samples as samples

_add = Upsert(samples, lambda _, incoming: incoming)


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One reading at a moment (epoch milliseconds); ``figures`` is JSON."""

    engine: str
    at: int
    figures: str


def add_samples(connection: Connection, rows: Sequence[EngineSample]) -> None:
    """Keep readings; one of the same engine and moment is replaced."""
    _add.write(connection, [(row.engine, row.at, row.figures) for row in rows])


def read_samples(connection: Connection, engine: str, start_at: int, end_at: int) -> Sequence[EngineSample]:
    """Readings of one engine within a time, oldest first."""
    query = select(samples).where(samples.c.engine == engine, samples.c.at >= start_at, samples.c.at < end_at)
    return [EngineSample(**row) for row in connection.execute(query.order_by(samples.c.at)).mappings()]


def read_thinned_samples(
    connection: Connection, engine: str, span: tuple[int, int], step_ms: int
) -> Sequence[EngineSample]:
    """The last reading of every step within a time (epoch milliseconds, end excluded), oldest first."""
    within = (samples.c.engine == engine, samples.c.at >= span[0], samples.c.at < span[1])
    step: ColumnElement[int] = literal_column(str(step_ms))
    last = select(func.max(samples.c.at)).where(*within).group_by(samples.c.at - samples.c.at % step)
    query = select(samples).where(samples.c.engine == engine, samples.c.at.in_(last)).order_by(samples.c.at)
    return [EngineSample(**row) for row in connection.execute(query).mappings()]


def read_sample_times(connection: Connection, engine: str, start_at: int, end_at: int) -> list[int]:
    """When one engine was read within a time (epoch milliseconds), oldest first."""
    query = select(samples.c.at).where(samples.c.engine == engine, samples.c.at >= start_at, samples.c.at < end_at)
    return list(connection.scalars(query.order_by(samples.c.at)))


def read_newest_samples(connection: Connection) -> Sequence[EngineSample]:
    """The latest reading of every engine."""
    newest = select(samples.c.engine, func.max(samples.c.at).label("at")).group_by(samples.c.engine).subquery()
    query = select(samples).join(newest, (samples.c.engine == newest.c.engine) & (samples.c.at == newest.c.at))
    return [EngineSample(**row) for row in connection.execute(query.order_by(samples.c.engine)).mappings()]


def delete_samples_before(connection: Connection, before: int) -> int:
    """Delete readings older than a time (epoch milliseconds); how many."""
    return connection.execute(delete(samples).where(samples.c.at < before)).rowcount

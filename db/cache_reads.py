"""What the semantic cache compared and what came of it, as pages read it: look-ups, labels over time, texts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, and_, func, literal_column, not_, select
from sqlalchemy.sql import ColumnElement

from db.bulk import is_one_of
from db.cache_labels import REVISION
from db.measures import filters_of, sum_of
from db.tables import cache_labels, calls, payloads, revisions
from db.windows import Window

_MISSED = calls.c.cache_kind == literal_column("'miss'")


class Compared(NamedTuple):
    """One call that had an answered question near it; ``threshold`` is what was served from then, if anything was.

    ``probability`` is 0 where the gate refused; money and time are None where they are not known.
    """

    started_at: int
    cache_kind: str
    similarity: float | None
    probability: float
    threshold: float | None
    cost_nusd: int | None
    saved_nusd: int | None
    latency_ms: float | None


def read_compared(connection: Connection, window: Window, limit: int) -> list[Compared]:
    """The newest calls of a window that were compared with another, newest first."""
    names = "started_at cache_kind similarity cache_probability similarity_threshold cost_nusd saved_cache_nusd"
    columns = [calls.c[name] for name in (*names.split(), "latency_ms")]
    query = select(*columns).where(*_compared(window)).order_by(calls.c.started_at.desc()).limit(limit)
    return [Compared(*row) for row in connection.execute(query)]


def sum_verified(connection: Connection, window: Window) -> tuple[int, int]:
    """Calls that could have been hits and were answered fresh to be compared: how many, and what they cost (nano-$)."""
    reached = and_(_MISSED, calls.c.cache_probability >= calls.c.similarity_threshold)
    query = select(sum_of(calls, "calls"), sum_of(calls, "cost_nusd")).where(*_compared(window), reached)
    found = connection.execute(query).one()
    return int(found[0]), int(found[1])


def _compared(window: Window) -> list[ColumnElement[bool]]:
    at = calls.c.started_at
    within = [at >= window.start_at, at < window.end_at, calls.c.cache_probability.is_not(None)]
    return [*within, *filters_of(calls, window)]


def read_label_revision(connection: Connection) -> int:
    """A number that grows whenever labels arrive."""
    query = select(revisions.c.revision).where(revisions.c.noun == REVISION)
    return connection.execute(query).scalar() or 0


def count_labels_over_time(connection: Connection, window: Window, bucket_ms: int) -> Sequence[RowMapping]:
    """Verdicts per bucket ``at``, ``source`` and ``same``: how many ``labels``; the window's filters do not apply."""
    table = cache_labels.c
    at = (table.at - table.at % literal_column(str(bucket_ms))).label("at")
    groups: list[ColumnElement[Any]] = [at, table.source, table.same]
    within = [table.at >= window.start_at, table.at < window.end_at]
    query = select(*groups, func.count().label("labels")).where(*within).group_by(*groups)
    return connection.execute(query).mappings().all()


def read_verified(
    connection: Connection, *, limit: int, before: int | None = None, unreviewed: bool = False
) -> Sequence[RowMapping]:
    """Calls whose fresh answer was compared by a machine, newest first, in the form of ``cache_labels.read_hits``."""
    machine, human = cache_labels.alias("machine"), cache_labels.alias("human")
    judged = and_(human.c.call_id == machine.c.call_id, human.c.source == "human")
    higher = cache_labels.alias("higher")
    outranked = select(higher.c.call_id).where(
        higher.c.call_id == machine.c.call_id, higher.c.source == "judge", machine.c.source != "judge"
    )
    columns = [
        machine.c.call_id.label("id"),
        machine.c.at.label("started_at"),
        machine.c.tenant,
        machine.c.model,
        machine.c.similarity,
        machine.c.probability.label("cache_probability"),
        machine.c.source_call_id,
        machine.c.same.label("machine_same"),
        machine.c.source.label("machine_source"),
        human.c.same.label("human_same"),
        human.c.actor,
        human.c.note,
    ]
    query = select(*columns).select_from(machine.outerjoin(human, judged))
    query = query.where(machine.c.source != "human", not_(outranked.exists()))
    if before is not None:
        query = query.where(machine.c.at < before)
    if unreviewed:
        query = query.where(human.c.call_id.is_(None))
    query = query.order_by(machine.c.at.desc(), machine.c.call_id.desc()).limit(limit)
    return connection.execute(query).mappings().all()


def read_bodies(connection: Connection, ids: Collection[str]) -> dict[str, RowMapping]:
    """The captured bodies of these calls by id; those that were not captured are absent."""
    query = select(payloads).where(is_one_of(connection, payloads.c.call_id, list(ids)))
    return {row["call_id"]: row for row in connection.execute(query).mappings()}


def find_partition(connection: Connection, source_call_id: str | None) -> str | None:
    """The partition (hex) of the call whose answer was cached, where a label tells it."""
    query = select(cache_labels.c.partition).where(cache_labels.c.source_call_id == source_call_id)
    found: str | None = connection.execute(query.where(cache_labels.c.partition != "").limit(1)).scalar()
    return found


def find_verifier(connection: Connection) -> str | None:
    """Which coefficients gave the probabilities of the newest labels."""
    known = cache_labels.c.verifier.is_not(None)
    query = select(cache_labels.c.verifier).where(known).order_by(cache_labels.c.stored_at.desc()).limit(1)
    found: str | None = connection.execute(query).scalar()
    return found

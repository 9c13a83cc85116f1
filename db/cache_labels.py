"""Labels of semantic hits: did the cached answer say what a fresh one says? Written, read, counted, reviewed.

A call may have one label per source; the one of the highest source counts: human over judge over machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, RowMapping, and_, case, func, literal_column, not_, select
from sqlalchemy.sql import ColumnElement, FromClause

from db.bulk import Row, Upsert
from db.revisions import bump
from db.tables import cache_labels, calls

REVISION = "cache_labels"
"""The noun that is bumped in ``revisions`` when labels arrive."""

SOURCES = ("exact", "numeric", "structured", "embedding", "judge", "human")
MOST_READ = 50_000

_add = Upsert(cache_labels)
_replace = Upsert(cache_labels, lambda _, incoming: incoming)
_SEMANTIC = calls.c.cache_kind == literal_column("'semantic'")  # as text, or SQLite does not see the partial index


@dataclass(slots=True, frozen=True)
class Label:
    """One verdict on a cached answer: ``same`` as a fresh one or not; ``at`` in epoch milliseconds.

    ``propensity`` is the probability with which this would-be hit was picked to be verified; 0 means picked by hand.
    """

    id: str
    """Id of the call that asked."""
    at: int
    tenant: str
    partition: str
    """As hex."""
    similarity: float
    probability: float
    same: bool
    source: str
    propensity: float
    share: float | None = None
    """The smallest propensity that any would-be hit had at that moment: the verified share while hits are served, 1
    while none are. It makes labels of served and of unserved scores comparable; None: the same as ``propensity``."""
    source_call_id: str | None = None
    """Id of the call whose answer was cached."""
    model: str | None = None
    verifier: str | None = None
    """Which coefficients gave the probability; labels of others are no evidence about these."""
    actor: str | None = None
    note: str | None = None
    features: str | None = None
    """What the verifier measured of the pair, so that another one can say what it would have given."""
    stored_at: int = 0
    """When it came into the database (epoch ms)."""


def rank_of(source: str) -> int:
    """Which of a call's labels counts: the highest."""
    return {"human": 2, "judge": 1}.get(source, 0)


def row_of(label: Label, stored_at: int) -> Row:
    """A label's values in column order."""
    said = replace(label, stored_at=stored_at)
    return tuple(getattr(said, "id" if column.name == "call_id" else column.name) for column in cache_labels.c)


def faults_of(label: Label) -> list[str]:
    """What keeps a label of the right types from being evidence; empty when nothing does."""
    share = label.propensity if label.share is None else label.share
    shares = {"probability": label.probability, "propensity": label.propensity, "share": share}
    wrong = [name for name, value in shares.items() if not 0.0 <= value <= 1.0]
    return wrong + [name for name, known in (("source", label.source in SOURCES), ("id", bool(label.id))) if not known]


def add_labels(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert labels, in column order; one that is there already stays as it is. The caller bumps the revision."""
    _add.write(connection, rows)


def write_review(connection: Connection, label: Label, *, now_ms: int) -> None:
    """A person's verdict: replaces an earlier one on the same call and wakes the workers."""
    _replace.write(connection, [row_of(replace(label, source="human"), now_ms)])
    bump(connection, REVISION)


def read_labels(connection: Connection, *, stored_since: int = 0, limit: int = MOST_READ) -> list[Label]:
    """The newest ``limit`` labels that came in since then, oldest first, of all sources."""
    newest = select(cache_labels).where(cache_labels.c.stored_at >= stored_since)
    newest = newest.order_by(cache_labels.c.stored_at.desc(), cache_labels.c.call_id.desc()).limit(limit)
    return [_label(row) for row in reversed(connection.execute(newest).mappings().all())]


def read_labels_of(connection: Connection, call_id: str) -> list[Label]:
    """Every verdict on one call, the one that counts first."""
    query = select(cache_labels).where(cache_labels.c.call_id == call_id)
    found = [_label(row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda label: -rank_of(label.source))


def count_labels(connection: Connection) -> Sequence[RowMapping]:
    """Per tenant, partition and model: ``labels``, ``false_hits`` among them, ``newest_at``; most labels first."""
    table = cache_labels.c
    grouped = (table.tenant, table.partition, table.model)
    counted = func.count().label("labels")
    false_hits = func.sum(case((table.same, 0), else_=1)).label("false_hits")
    query = select(*grouped, counted, false_hits, func.max(table.at).label("newest_at")).where(_counts())
    query = query.group_by(*grouped).order_by(counted.desc(), table.partition)
    return connection.execute(query).mappings().all()


def read_hits(
    connection: Connection, *, limit: int, before: int | None = None, unreviewed: bool = False
) -> Sequence[RowMapping]:
    """Semantic hits, newest first, started ``before`` then: each call's id, scores and money, with its verdicts.

    ``machine_same`` and ``human_same`` are null where nobody judged.
    """
    machine, human = _verdict("machine"), _verdict("human")
    names = "id started_at tenant model similarity similarity_threshold cache_probability source_call_id saved_nusd"
    columns = [calls.c[name] for name in names.split()]
    judged = [machine.c.same.label("machine_same"), machine.c.source.label("machine_source")]
    reviewed = [human.c.same.label("human_same"), human.c.actor, human.c.note]
    joined = calls.outerjoin(machine, machine.c.call_id == calls.c.id).outerjoin(human, human.c.call_id == calls.c.id)
    query = select(*columns, *judged, *reviewed).select_from(joined).where(_SEMANTIC)
    if before is not None:
        query = query.where(calls.c.started_at < before)
    if unreviewed:
        query = query.where(human.c.call_id.is_(None))
    query = query.order_by(calls.c.started_at.desc(), calls.c.id.desc()).limit(limit)
    return connection.execute(query).mappings().all()


def _verdict(who: str) -> FromClause:
    """The labels of people, or of each call the one machine label that counts."""
    table = cache_labels.alias(who)
    person = table.c.source == "human"
    if who == "human":
        return select(table).where(person).subquery(who)
    return select(table).where(not_(person), _is_highest(table, among_machines=True)).subquery(who)


def _counts() -> ColumnElement[bool]:
    return _is_highest(cache_labels)


def _is_highest(table: FromClause, *, among_machines: bool = False) -> ColumnElement[bool]:
    """Whether no label of a higher source exists for the same call."""
    other = cache_labels.alias("other")
    higher = and_(other.c.call_id == table.c.call_id, _rank(other) > _rank(table))
    if among_machines:
        higher = and_(higher, other.c.source != "human")
    return not_(select(other.c.call_id).where(higher).exists())


def _rank(table: FromClause) -> ColumnElement[int]:
    """``rank_of`` in SQL."""
    return case((table.c.source == "human", 2), (table.c.source == "judge", 1), else_=0)


def _label(row: RowMapping) -> Label:
    said = dict(row)
    return Label(id=said.pop("call_id"), **said)

"""What engines were found to be worth beside full precision: kept, listed, the latest of every variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, insert, select

from db.tables_engine import engine_qualities as qualities


@dataclass(frozen=True, slots=True)
class EngineQuality:
    """One comparison; ``measured_at`` is epoch milliseconds, ``agreement`` a share, ``mean_difference`` in nats.

    Precisions and bytes of weights are None where they were not known, ``reference_engine`` where nobody served it.
    """

    id: str
    measured_at: int
    engine: str
    model: str
    quantisation: str
    dtype: str
    precision: str | None
    weight_bytes: int | None
    reference_engine: str | None
    reference_model: str
    reference_quantisation: str
    reference_dtype: str
    reference_precision: str | None
    reference_weight_bytes: int | None
    text_name: str
    tokens: int
    perplexity: float
    reference_perplexity: float
    agreement: float
    mean_difference: float

    @property
    def perplexity_ratio(self) -> float:
        """How many times as perplexed as the reference: 1 is no loss."""
        return self.perplexity / self.reference_perplexity


def insert_quality(connection: Connection, quality: EngineQuality) -> None:
    """Keep a comparison."""
    connection.execute(insert(qualities).values(asdict(quality)))


def list_qualities(connection: Connection, *, limit: int, engine: str | None = None) -> Sequence[EngineQuality]:
    """Comparisons newest first, of one engine or of all."""
    query = select(qualities).order_by(qualities.c.measured_at.desc(), qualities.c.id.desc()).limit(limit)
    if engine is not None:
        query = query.where(qualities.c.engine == engine)
    return [EngineQuality(**row) for row in connection.execute(query).mappings()]


def list_latest_qualities(connection: Connection, limit: int) -> Sequence[EngineQuality]:
    """The latest comparison of every engine with every model, quantisation and type it served, newest first."""
    variant = [qualities.c[name] for name in ("engine", "model", "quantisation", "dtype")]
    newest_first = qualities.c.measured_at.desc(), qualities.c.id.desc()
    place = func.row_number().over(partition_by=variant, order_by=newest_first).label("place")
    ranked = select(qualities, place).subquery()
    query = select(*(ranked.c[column.name] for column in qualities.c)).where(ranked.c.place == 1)
    query = query.order_by(ranked.c.measured_at.desc(), ranked.c.id.desc()).limit(limit)
    return [EngineQuality(**row) for row in connection.execute(query).mappings()]

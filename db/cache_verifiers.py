"""Verifiers refitted on labels: written once per generation, read by every worker and page."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select

from db.cache_labels import REVISION
from db.revisions import bump
from db.tables import cache_labels, cache_verifiers


@dataclass(slots=True, frozen=True)
class VerifierRow:
    """One fit; times in epoch milliseconds, gains in nats a label, with what they are at least at 97.5 %."""

    space: str
    """What its features mean: embedder and measure."""
    generation: int
    name: str
    replaces: str
    """Name of the verifier it was compared with."""
    numbers: str
    """Its curves as JSON."""
    fitted_at: int
    fitted_until: int
    """Labels of calls up to here may have been used for fitting; only those kept apart are evidence about it."""
    labels: int
    held_out: int
    gain: float
    gain_low: float
    adopted: bool


def read_verifiers(connection: Connection, space: str) -> list[VerifierRow]:
    """Every fit of one space, oldest first."""
    query = select(cache_verifiers).where(cache_verifiers.c.space == space).order_by(cache_verifiers.c.generation)
    return [VerifierRow(**row) for row in connection.execute(query).mappings()]


def add_verifier(connection: Connection, row: VerifierRow) -> bool:
    """Write a fit and wake the workers; False where another worker was first with this generation."""
    known = select(cache_verifiers.c.name).where(
        cache_verifiers.c.space == row.space, cache_verifiers.c.generation == row.generation
    )
    if connection.execute(known).first() is not None:
        return False
    connection.execute(insert(cache_verifiers).values(asdict(row)))
    bump(connection, REVISION)
    return True


def find_space(connection: Connection) -> str | None:
    """The space of the newest label that has features."""
    known = cache_labels.c.features.is_not(None)
    query = select(cache_labels.c.features).where(known).order_by(cache_labels.c.stored_at.desc()).limit(1)
    found: str | None = connection.execute(query).scalar()
    return None if found is None else found.partition(":")[0]

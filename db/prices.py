"""The price table: rows are added, never changed or removed, because calls keep pointing at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Insert, select
from sqlalchemy.dialects import postgresql, sqlite

from db.tables import prices


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One price of one model from one moment on. ``rates`` is JSON of integers in nano-dollars per million tokens."""

    id: str
    model: str
    provider: str | None
    effective_from: int
    source: str
    rates: str
    actor: str | None
    reason: str | None
    created_at: int


def load_prices(connection: Connection) -> list[PriceRow]:
    """Every price ever in force, oldest first: what a price book is built from."""
    query = select(prices).order_by(prices.c.effective_from, prices.c.created_at, prices.c.id)
    return [PriceRow(*row) for row in connection.execute(query)]


def list_prices(connection: Connection, *, model: str = "", source: str = "", limit: int = 200) -> list[PriceRow]:
    """Prices for a page, newest first: of models whose name contains ``model`` (any case), from one source or all."""
    query = select(prices).order_by(prices.c.effective_from.desc(), prices.c.model, prices.c.id).limit(limit)
    if model:
        query = query.where(prices.c.model.icontains(model, autoescape=True))
    if source:
        query = query.where(prices.c.source == source)
    return [PriceRow(*row) for row in connection.execute(query)]


def read_price(connection: Connection, price_id: str) -> PriceRow | None:
    """The price that a call was billed with."""
    row = connection.execute(select(prices).where(prices.c.id == price_id)).one_or_none()
    return None if row is None else PriceRow(*row)


def add_price(connection: Connection, row: PriceRow) -> bool:
    """Add one price; false when this very price is there already. The caller bumps the revision."""
    return add_prices(connection, [row]) == 1


def add_prices(connection: Connection, rows: Sequence[PriceRow]) -> int:
    """Add those prices that are not there yet; how many were."""
    known = _known_ids(connection, rows)
    missing = {row.id: asdict(row) for row in rows if row.id not in known}
    if missing:
        connection.execute(_insert_missing(connection), list(missing.values()))
    return len(missing)


def _known_ids(connection: Connection, rows: Sequence[PriceRow]) -> set[str]:
    if len(rows) > 100:  # cheaper than thousands of bound parameters
        return set(connection.scalars(select(prices.c.id)))
    return set(connection.scalars(select(prices.c.id).where(prices.c.id.in_([row.id for row in rows]))))


def _insert_missing(connection: Connection) -> Insert:
    """Another process may add the same price between our look and our insert."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(prices).on_conflict_do_nothing()
    return sqlite.insert(prices).on_conflict_do_nothing()

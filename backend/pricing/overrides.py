"""Prices that people state in dollars per million tokens: of a deployment, or in place of a list price."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from backend.pricing.prices import BUCKETS, Price, read_row, row_of
from db.prices import PriceRow

NUSD = 1_000_000_000


def rates_from_dollars(dollars: Mapping[str, Decimal | int | str | None]) -> dict[str, object]:
    """A rates document from dollars per million tokens by bucket; ``cache_write`` states both lifetimes.

    ``per_call`` is in dollars per call. Raises ``TypeError`` on floats, ``ValueError`` on unknown buckets and on what
    is not a whole number of nano-dollars.
    """
    stated = {name: _read_dollars(name, value) for name, value in dollars.items() if value is not None}
    written = stated.pop("cache_write", None)
    if written is not None:
        stated = {"cache_write_5m": written, "cache_write_1h": written, **stated}
    per_call = stated.pop("per_call", None)
    unknown = stated.keys() - set(BUCKETS)
    if unknown:
        raise ValueError(f"unknown buckets: {sorted(unknown)}")
    document: dict[str, object] = {"standard": [{"above_tokens": 0, **stated}]}
    return document if per_call is None else {**document, "per_call": per_call}


def row_from_override(name: str, dollars: Mapping[str, Decimal | int | str | None]) -> PriceRow:
    """The row that explains a deployment's own price; the same settings give the same id in every process."""
    return row_of(name, None, rates_from_dollars(dollars), source="settings")


def price_from_override(name: str, dollars: Mapping[str, Decimal | int | str | None]) -> Price:
    """The price that a deployment's settings state, under the name of the deployment."""
    price = read_row(row_from_override(name, dollars))
    if price is None:
        raise AssertionError("a price with rates was read as withdrawn")
    return price


def _read_dollars(name: str, value: Decimal | int | str) -> int:
    if isinstance(value, bool | float):
        raise TypeError(f"{name}: dollars are decimal strings, not {value!r}")
    nusd = Decimal(value) * NUSD
    if not nusd.is_finite() or nusd != nusd.to_integral_value():
        raise ValueError(f"{name}: {value} is not a whole number of nano-dollars")
    return int(nusd)

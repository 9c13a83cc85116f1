"""The golden vectors: usage objects as providers send them, published rates, and what they cost.

``billed`` is worked out by hand, ``cost_nusd`` from it in decimal arithmetic; neither by the code under test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from backend.pricing.prices import Price, read_row, row_of

FOLDER = Path(__file__).parent / "golden"
NUSD = 1_000_000_000


@dataclass(frozen=True)
class Vector:
    group: str
    name: str
    usage: Any
    price: dict[str, Any] | None
    price_name: str | None
    service_tier: str | None
    billed: tuple[tuple[str, int, Decimal], ...]
    cost_nusd: int | None
    notes: frozenset[str]

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


@cache
def read_group(group: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{group}.json").read_text())
    return loaded


@cache
def read_vectors() -> tuple[Vector, ...]:
    return tuple(
        Vector(
            group=path.stem,
            name=vector["name"],
            usage=vector["usage"],
            price=read_group(path.stem)["prices"].get(vector["price"]),
            price_name=vector["price"],
            service_tier=vector.get("service_tier"),
            billed=tuple((bucket, tokens, Decimal(rate)) for bucket, tokens, rate in vector.get("billed", ())),
            cost_nusd=vector["cost_nusd"],
            notes=frozenset(vector.get("notes", ())),
        )
        for path in sorted(FOLDER.glob("*.json"))
        for vector in read_group(path.stem)["vectors"]
    )


def published_prices() -> list[tuple[str, str, dict[str, Any]]]:
    """Group, name and price of everything in the vectors that is on somebody's price list."""
    return [
        (path.stem, name, price)
        for path in sorted(FOLDER.glob("*.json"))
        for name, price in read_group(path.stem)["prices"].items()
        if "map" in price
    ]


def price_of(vector: Vector) -> Price | None:
    return None if vector.price is None else price_from(vector.price)


def price_from(published: dict[str, Any]) -> Price:
    document: dict[str, Any] = {
        "standard": _in_nusd(published["standard"]),
        "tiers": {name: _in_nusd(steps) for name, steps in published.get("tiers", {}).items()},
        "per_call": _nusd(published.get("per_call", "0")),
    }
    price = read_row(row_of("golden", None, document))
    assert price is not None
    return price


def _in_nusd(steps: list[dict[str, Any]]) -> list[dict[str, int]]:
    return [{name: value if name == "above_tokens" else _nusd(value) for name, value in step.items()} for step in steps]


def _nusd(dollars: str) -> int:
    amount = Decimal(dollars) * NUSD
    assert amount == int(amount)
    return int(amount)

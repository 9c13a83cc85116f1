"""What a batch job's lines must agree with, as the settings and prices in force have it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import orjson

from backend.batch.lines import ENDPOINTS, Rules
from backend.errors import ModelNotFound, Unpriced
from backend.gateway.bill import upper_bound_of
from backend.routing.router import find_candidates

if TYPE_CHECKING:
    from backend.batch.desk import JobRow
    from backend.call import Endpoint
    from backend.gateway.gateway import Gateway
    from backend.settings.knobs import Settings


def rules_of(job: JobRow, gateway: Gateway) -> Rules:
    """The rules of a job; where it has a budget, what its requests can cost belongs to them."""
    settings = gateway.settings.current.settings

    def is_served(model: str) -> bool:
        try:
            find_candidates(model, settings)
        except ModelNotFound:
            return False
        return True

    def bound(body: bytes) -> int | None:
        return bound_nusd(body, cast("Endpoint", ENDPOINTS[job.endpoint]), gateway, settings)

    return Rules(job.endpoint, settings.batch.max_lines, is_served, None if job.max_cost_nusd is None else bound)


def bound_nusd(raw: bytes, endpoint: Endpoint, gateway: Gateway, settings: Settings) -> int | None:
    """The most a request can cost wherever it goes; raises ``Unpriced`` when no deployment of its model has a price."""
    body: dict[str, Any] = orjson.loads(raw)
    found, at_ms = find_candidates(body["model"], settings), time.time_ns() // 1_000_000
    bounds: list[int | None] = []
    priced = False
    for deployment in dict.fromkeys([*(each for each, _ in found.weighted), *found.fallbacks]):
        model = deployment.upstream_model or body["model"]
        price = gateway.bill.price_or_estimate(deployment, model, at_ms, settings.pricing)
        priced = priced or price is not None
        bounds.append(_bound(body, endpoint, len(raw), price))
    if not priced:
        raise Unpriced(f"The price of model {body['model']!r} is not known.", param="model")
    known = [each for each in bounds if each is not None]
    return max(known) if len(known) == len(bounds) else None


def _bound(body: dict[str, Any], endpoint: Endpoint, size: int, price: Any) -> int | None:
    try:
        return upper_bound_of(body, endpoint, size, price)
    except (ValueError, TypeError):  # the call will be refused for what it says
        return None

"""The prices that settings state, as rows of the price table: a price id in a call must always be explainable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from backend.pricing.overrides import row_from_override
from backend.settings.knobs import PriceOverride, PricingSettings, Settings
from db.prices import PriceRow

ESTIMATE = "estimate"
"""The name under which unpriced models are billed when the settings say so."""


def stated_prices(settings: Settings) -> Iterator[PriceRow]:
    """A row for every deployment with a price of its own, and for the estimated rates."""
    for deployment in settings.deployments:
        if deployment.price is not None:
            yield row_from_override(deployment.name, dollars_of(deployment.price))
    if settings.pricing.unpriced == ESTIMATE:
        yield row_from_override(ESTIMATE, dollars_of_estimate(settings.pricing))


def dollars_of(price: PriceOverride) -> Mapping[str, Decimal]:
    """The stated dollars per million tokens by bucket."""
    stated: dict[str, Decimal] = price.model_dump(exclude_none=True)
    return stated


def dollars_of_estimate(pricing: PricingSettings) -> Mapping[str, Decimal]:
    """The dollars per million tokens at which unpriced models are estimated."""
    return {"input": pricing.estimate_input, "output": pricing.estimate_output}

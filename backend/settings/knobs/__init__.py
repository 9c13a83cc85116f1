"""Every knob, declared once: one section per stage, in the order a call meets them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import model_validator

from backend.settings.knobs.batch import BatchSettings
from backend.settings.knobs.cache import CacheSettings
from backend.settings.knobs.deployments import (
    OPENAI_COMPATIBLE,
    Deployment,
    PriceOverride,
    Simulation,
    default_deployments,
)
from backend.settings.knobs.engine import EngineSettings, EngineSpec
from backend.settings.knobs.gateway import GatewaySettings
from backend.settings.knobs.ledger import LedgerSettings
from backend.settings.knobs.pricing import PricingSettings
from backend.settings.knobs.routing import ModelRoute, RoutingSettings, WeightedDeployment
from backend.settings.knobs.section import Section, knob
from backend.settings.knobs.upstream import UpstreamSettings

__all__ = [
    "OPENAI_COMPATIBLE",
    "BatchSettings",
    "CacheSettings",
    "Deployment",
    "EngineSettings",
    "EngineSpec",
    "GatewaySettings",
    "LedgerSettings",
    "ModelRoute",
    "PriceOverride",
    "PricingSettings",
    "RoutingSettings",
    "Section",
    "Settings",
    "Simulation",
    "UpstreamSettings",
    "WeightedDeployment",
    "knob",
]


class Settings(Section):
    """The whole document in force; frozen, taken once per call."""

    gateway: GatewaySettings = knob(GatewaySettings, "Gateway", "What a request may look like.")
    cache: CacheSettings = knob(CacheSettings, "Cache", "Answer a repeated question without calling a model.")
    routing: RoutingSettings = knob(RoutingSettings, "Routing", "Model name to weighted deployments.")
    deployments: tuple[Deployment, ...] = knob(default_deployments, "Deployments", "Who can answer.")
    upstream: UpstreamSettings = knob(UpstreamSettings, "Upstream", "Deadlines, retries, cooldown, disconnects.")
    pricing: PricingSettings = knob(PricingSettings, "Pricing", "What happens when a model has no price.")
    engine: EngineSettings = knob(EngineSettings, "Engine", "Local models: launched, watched, restarted.")
    batch: BatchSettings = knob(BatchSettings, "Batch", "Files of requests answered behind live calls.")
    ledger: LedgerSettings = knob(LedgerSettings, "Ledger", "Durability, the spool, captured payloads.")

    @model_validator(mode="after")
    def _names_agree(self) -> Settings:
        names = [deployment.name for deployment in self.deployments]
        _refuse_repeats("deployment", names)
        _refuse_repeats("model route", [route.model for route in self.routing.models])
        known = set(names)
        for route in self.routing.models:
            wanted = {*(choice.name for choice in route.deployments), *route.fallbacks}
            _refuse_unknown(f"route of {route.model}", wanted - known)
        _refuse_unknown("default fallbacks", set(self.routing.default_fallbacks) - known)
        return self


def _refuse_repeats(noun: str, names: Iterable[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"{noun} declared twice: {', '.join(repeated)}")


def _refuse_unknown(place: str, names: set[str]) -> None:
    if names:
        raise ValueError(f"{place} names unknown deployments: {', '.join(sorted(names))}")

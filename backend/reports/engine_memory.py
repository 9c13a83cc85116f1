"""Whether a model fits on GPUs, part by part, from its configuration."""

from __future__ import annotations

import orjson

from backend.engine.architecture import read_architecture
from backend.engine.memory import GIB, KV_BITS, PRECISIONS, Demand, MemoryPlan, Model, Placement, plan
from backend.engine.weights import read_config

__all__ = ["GIB", "KV_BITS", "PRECISIONS", "Demand", "MemoryPlan", "Placement", "plan_model", "read_config"]


def plan_model(config: str, precision: str, demand: Demand, placement: Placement) -> tuple[int, MemoryPlan]:
    """Parameters of the model that a ``config.json`` describes, and how it lies on the GPUs.

    Raises ``ValueError`` on a text that is no such configuration, or on GPUs that its heads cannot be split over.
    """
    document = orjson.loads(config)
    architecture = read_architecture(document if isinstance(document, dict) else {})
    return architecture.parameters, plan(Model(architecture, precision), demand, placement)

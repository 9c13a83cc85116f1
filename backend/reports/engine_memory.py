"""Whether a model fits on GPUs, part by part, from its configuration."""

from __future__ import annotations

from pathlib import Path

import orjson

from backend.engine.architecture import read_architecture
from backend.engine.memory import GIB, KV_BITS, PRECISIONS, Demand, MemoryPlan, Model, Placement, plan

__all__ = ["GIB", "KV_BITS", "PRECISIONS", "Demand", "MemoryPlan", "Placement", "plan_model", "read_config"]

_MOST_BYTES = 1024 * 1024


def read_config(model: str) -> str | None:
    """The text of a model folder's ``config.json`` on this machine; None where there is none."""
    path = Path(model) / "config.json"
    try:
        return path.read_text()[:_MOST_BYTES] if path.is_file() else None
    except OSError:
        return None


def plan_model(config: str, precision: str, demand: Demand, placement: Placement) -> tuple[int, MemoryPlan]:
    """Parameters of the model that a ``config.json`` describes, and how it lies on the GPUs.

    Raises ``ValueError`` on a text that is no such configuration, or on GPUs that its heads cannot be split over.
    """
    document = orjson.loads(config)
    architecture = read_architecture(document if isinstance(document, dict) else {})
    return architecture.parameters, plan(Model(architecture, precision), demand, placement)

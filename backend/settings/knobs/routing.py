"""Knobs of routing: which deployments answer for a model, and which stand in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backend.settings.knobs.deployments import Name
from backend.settings.knobs.section import Section, knob


class WeightedDeployment(Section):
    """A deployment and its share of the traffic."""

    name: Name = Field(title="Deployment", description="Name of a declared deployment.")
    weight: int = Field(1, ge=0, le=10_000, title="Weight", description="Share relative to its siblings.")


class ModelRoute(Section):
    """Where calls for one model go; without one, every deployment of that model takes its share."""

    model: str = Field(min_length=1, max_length=256, title="Model", description="Model name callers ask for.")
    deployments: tuple[WeightedDeployment, ...] = Field(
        (), title="Deployments", description="Weighted choice; empty = all deployments of the model."
    )
    fallbacks: tuple[Name, ...] = Field(
        (), title="Fallbacks", description="Deployments tried in order when these fail."
    )


class RoutingSettings(Section):
    """Model name to weighted deployments with ordered fallbacks."""

    models: tuple[ModelRoute, ...] = knob((), "Model routes", "Weighted deployments and fallbacks for each model name.")
    affinity: Literal["off", "session", "conversation"] = knob(
        "session",
        "Affinity",
        "Keep a session (as its caller names it), or any conversation (by how it begins), at one deployment.",
    )
    default_fallbacks: tuple[Name, ...] = knob(
        (), "Default fallbacks", "Deployments tried in order when a model has no fallbacks of its own."
    )

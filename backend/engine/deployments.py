"""An engine's deployments: made when it first answers, pointed at its new port when it moves."""

from __future__ import annotations

from collections.abc import Iterator

from backend.errors import StaleSettings
from backend.settings.knobs import Deployment, EngineSpec
from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial, current
from db.engine import Engine

_TRIES = 5
QUEUE_S = 60.0
"""How long a call may wait for a place in a new engine's window; its deployment says otherwise once a person did."""


class NotLed(Exception):
    """Calls cannot be led to an engine now; the message says why."""


def point_deployments(engine: Engine, spec: EngineSpec, url: str, by: Signature) -> bool:
    """Send calls for this engine to ``url`` (up to /v1); whether anything had to change.

    What people set on its deployments (weight, price, names) stays. Raises ``InvalidSettings``.
    """
    for tries_left in reversed(range(_TRIES)):
        found = current(engine)
        deployments = merge_deployments(found.settings.deployments, spec, url)
        if deployments == found.settings.deployments:
            return False
        document = [dump_one(each) for each in deployments]
        try:
            apply_partial(engine, Change({"deployments": document}, by, found.version))
            return True
        except StaleSettings:
            if not tries_left:
                raise
    return False


def merge_deployments(known: tuple[Deployment, ...], spec: EngineSpec, url: str) -> tuple[Deployment, ...]:
    """The deployments with this engine's own among them, at ``url``."""
    wanted = {each.name: each for each in own_deployments(spec, url)}
    kept = tuple(_update(each, wanted.pop(each.name)) if each.name in wanted else each for each in known)
    return (*kept, *wanted.values())


def own_deployments(spec: EngineSpec, url: str) -> Iterator[Deployment]:
    """One deployment for the model, one for each adapter."""
    shared = {"provider": spec.server, "base_url": url, "max_parallel": spec.max_running, "queue_s": QUEUE_S}
    shared |= {"api_key_env": spec.api_key_env}
    yield Deployment(name=spec.name, model=spec.served, upstream_model=spec.served, **shared)
    for each in spec.lora_modules:
        yield Deployment(name=f"{spec.name}-{each.name}", model=each.name, upstream_model=each.name, **shared)


def _update(known: Deployment, wanted: Deployment) -> Deployment:
    ours = ["provider", "base_url", "upstream_model", "max_parallel", "api_key_env"]
    return known.model_copy(update={name: getattr(wanted, name) for name in ours})


def dump_one(deployment: Deployment) -> dict[str, object]:
    """A deployment as plain data."""
    found: dict[str, object] = deployment.model_dump(mode="json")
    return found

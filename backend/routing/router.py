"""Model name to weighted deployments with ordered fallbacks; every dropped candidate has its reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING

import orjson

from backend.call import Call, Route
from backend.errors import ModelNotFound, NotFound

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment, Settings


@dataclass(slots=True, frozen=True)
class Candidates:
    """Who shares a model's traffic, and who stands in when they fail."""

    weighted: tuple[tuple[Deployment, int], ...]
    fallbacks: tuple[Deployment, ...]
    rule: str


class Router:
    """Chooses the route of a call; the only state is a table derived from the settings in force."""

    def __init__(self, resting: Callable[[str], bool], draw: Callable[[], float] = random.random) -> None:
        self._resting = resting
        self._draw = draw
        self._settings: Settings | None = None
        self._table: dict[str, Candidates] = {}

    def choose(self, call: Call, settings: Settings) -> Route:
        """Deployments in the order they are tried; raises ``ModelNotFound`` when nobody answers to the model."""
        if settings is not self._settings:
            self._settings, self._table = settings, {}
        if call.deployment is not None:
            return _insisted(call.deployment, settings)
        known = self._table.get(call.model)
        if known is None:
            known = find_candidates(call.model, settings)
            if len(self._table) < 10_000:
                self._table[call.model] = known
        return self._draw_route(known, call, settings.routing.affinity)

    def _draw_route(self, candidates: Candidates, call: Call, affinity: str) -> Route:
        if len(candidates.weighted) == 1 and not candidates.fallbacks:
            return Route((candidates.weighted[0][0],), candidates.rule, "only deployment of the model")
        weighted, stand_ins, resting = self._sift(candidates)
        if not weighted:
            return Route(tuple(stand_ins), candidates.rule, "stand-in: the model's own rest", dropped=resting)
        tie = tie_of(call, affinity) if len(weighted) > 1 else None
        first, share = self._draw_first(weighted) if tie is None else keep_place(weighted, tie)
        rest = [d for d, _ in weighted if d is not first]
        later = [d for d in stand_ins if d is not first and d not in rest]
        how = "kept" if tie is not None else "drawn"
        reason = f"{how} with weight {share:.0%}" if len(weighted) > 1 else "only deployment that is fit"
        return Route((first, *rest, *later), candidates.rule, reason, share, resting)

    def _sift(
        self, candidates: Candidates
    ) -> tuple[list[tuple[Deployment, int]], list[Deployment], tuple[tuple[str, str], ...]]:
        """Those that are fit, and those that rest with the reason; when all rest, all are tried all the same."""
        weighted = [(d, weight) for d, weight in candidates.weighted if not self._resting(d.name)]
        stand_ins = [d for d in candidates.fallbacks if not self._resting(d.name)]
        if not weighted and not stand_ins:
            return list(candidates.weighted), list(candidates.fallbacks), ()
        fit = {d.name for d, _ in weighted} | {d.name for d in stand_ins}
        everybody = dict.fromkeys([*(d.name for d, _ in candidates.weighted), *(d.name for d in candidates.fallbacks)])
        return weighted, stand_ins, tuple((name, "resting after failures") for name in everybody if name not in fit)

    def _draw_first(self, fit: list[tuple[Deployment, int]]) -> tuple[Deployment, float]:
        total = sum(weight for _, weight in fit)
        if total == 0:
            return fit[0][0], 1.0
        mark = self._draw() * total
        for deployment, weight in fit:
            mark -= weight
            if mark < 0:
                return deployment, weight / total
        return fit[-1][0], fit[-1][1] / total


def tie_of(call: Call, affinity: str) -> bytes | None:
    """What ties this call to the deployment that earlier ones of its session or conversation had; None for nothing.

    A conversation is known by how it begins: its model, its system prompt and its first user turn.
    """
    if affinity != "off" and call.session_id is not None:
        return call.session_id.encode()
    if affinity != "conversation":
        return None
    messages = call.body.get("messages") or []
    first = next((at for at, message in enumerate(messages) if message.get("role") == "user"), len(messages))
    return orjson.dumps([call.model, messages[: first + 1]], default=str)


def keep_place(fit: list[tuple[Deployment, int]], tie: bytes) -> tuple[Deployment, float]:
    """Always the same one for a tie while it is fit, each in proportion to its weight over all ties; and its share.

    Weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights as in Schindelhauer and Schomaker, 2005): when a
    deployment comes or goes, only the ties it gains or loses move.
    """
    if not any(weight for _, weight in fit):
        return fit[0][0], 1.0
    best = max(fit, key=lambda pair: _score(pair[0].name, pair[1], tie))
    return best[0], best[1] / sum(weight for _, weight in fit)


def _score(name: str, weight: int, tie: bytes) -> float:
    digest = blake2b(tie, digest_size=8, key=blake2b(name.encode(), digest_size=16).digest()).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return weight / -log(uniform)


def find_candidates(model: str, settings: Settings) -> Candidates:
    """The deployments for a model: its route, else all that declare it, else those that answer to any model (*)."""
    by_name = {deployment.name: deployment for deployment in settings.deployments}
    route = next((route for route in settings.routing.models if route.model == model), None)
    names = (route.fallbacks if route else ()) or settings.routing.default_fallbacks
    fallbacks = tuple(by_name[name] for name in names)
    if route and route.deployments:
        weighted = tuple((by_name[choice.name], choice.weight) for choice in route.deployments)
        return Candidates(weighted, fallbacks, f"route:{model}")
    declared = [d for d in settings.deployments if d.model == model]
    anybody = declared or [d for d in settings.deployments if d.model == "*"]
    if not anybody and not (route and fallbacks):
        raise ModelNotFound(f"The model {model!r} does not exist: no deployment answers to it.", param="model")
    serving = [d for d in anybody if d.weight > 0] or anybody or [fallbacks[0]]
    spare = tuple(d for d in anybody if d not in serving)
    return Candidates(tuple((d, d.weight) for d in serving), spare + fallbacks, f"model:{model}" if declared else "any")


def _insisted(name: str, settings: Settings) -> Route:
    for deployment in settings.deployments:
        if deployment.name == name:
            return Route((deployment,), "insisted", "the caller named the deployment")
    raise NotFound(f"There is no deployment named {name!r}.")

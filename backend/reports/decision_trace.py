"""What the gateway decided about one call, step by step, with the reason of each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["done", "skipped", "failed", "waiting"]

_CACHE = {
    "exact": "Hit: the same request was answered before",
    "semantic": "Hit: a similar request was answered before",
    "miss": "Miss: no stored answer",
    "bypass": "Bypassed",
    "coalesced": "Joined an identical call in flight",
}

_SERVED = {"exact", "semantic", "coalesced"}
_CACHE_NOTE = "cache: "
"""What the cache noted on a call begins so: it is the reason of its own step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's decision: what came of it, and why."""

    stage: str
    title: str
    detail: str
    outcome: Outcome


def trace_of(columns: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], key: str | None) -> tuple[Step, ...]:
    """The steps of a call in their order, out of its row and its attempts."""
    steps = [_identified(columns, key), *_looked_up(columns), *_routed(columns), *map(_tried, attempts)]
    return (*steps, *_noted(columns), _ended(columns))


def _identified(columns: Mapping[str, Any], key: str | None) -> Step:
    labels = ("tenant", "user", "feature", "department", "environment")
    said = ", ".join(f"{label} {columns[label]}" for label in labels if columns[label])
    if columns["status"] == "refused" and columns["http_status"] in (401, 403):
        return Step("auth", "Refused", columns["error_code"] or "", "failed")
    return Step("auth", f"Identified as {key}" if key else "No key asked for", said, "done")


def _looked_up(columns: Mapping[str, Any]) -> Iterator[Step]:
    kind = columns["cache_kind"]
    if kind is None:
        return
    details = []
    if columns["similarity"] is not None:
        details.append(f"similarity {columns['similarity']:.4f}")
    if columns["cache_probability"] is not None:
        details.append(f"probability {columns['cache_probability']:.4f}")
    if columns["similarity_threshold"] is not None:
        details.append(f"threshold {columns['similarity_threshold']:.4f}")
    if columns["source_call_id"]:
        details.append(f"{'answer' if kind in _SERVED else 'nearest question'} of {columns['source_call_id']}")
    details += [note.removeprefix(_CACHE_NOTE) for note in _notes_of(columns) if note.startswith(_CACHE_NOTE)]
    yield Step("cache", _CACHE.get(kind, kind), ", ".join(details), "skipped" if kind == "bypass" else "done")


def _routed(columns: Mapping[str, Any]) -> Iterator[Step]:
    if columns["rule"] is None and columns["route_reason"] is None:
        return
    details = [columns["route_reason"] or ""]
    if columns["candidates"]:
        details.append("candidates: " + ", ".join(map(str, columns["candidates"])))
    if columns["propensity"] is not None and columns["propensity"] < 1:
        details.append(f"chosen with probability {columns['propensity']:.3f}")
    title = f"Rule {columns['rule']} chose {columns['deployment'] or 'no deployment'}"
    yield Step("routing", title, "; ".join(filter(None, details)), "done")


def _tried(attempt: Mapping[str, Any]) -> Step:
    title = f"Attempt {attempt['number']} at {attempt['deployment']}"
    if attempt["state"] == "open":
        return Step("upstream", title, "under way", "waiting")
    details = [attempt["error_code"] or "answered"]
    if attempt["http_status"]:
        details.append(f"HTTP {attempt['http_status']}")
    if attempt["latency_ms"] is not None:
        details.append(f"{attempt['latency_ms']:,.0f} ms")
    if attempt["upstream_id"]:
        details.append(f"id {attempt['upstream_id']}")
    return Step("upstream", title, ", ".join(details), "failed" if attempt["error_code"] else "done")


def _noted(columns: Mapping[str, Any]) -> Iterator[Step]:
    for note in _notes_of(columns):
        if columns["cache_kind"] is None or not note.startswith(_CACHE_NOTE):
            yield Step("notes", note, "", "done")


def _notes_of(columns: Mapping[str, Any]) -> list[str]:
    return list(map(str, columns["notes"])) if isinstance(columns["notes"], list) else []


_ENDS: Mapping[str, tuple[str, Outcome]] = {
    "open": ("Still under way", "waiting"),
    "settled": ("Settled: billed by the provider's usage", "done"),
    "estimated": ("Estimated: the provider did not report the usage", "done"),
    "failed": ("Failed: nothing to bill", "failed"),
    "unknown": ("Unknown: the worker died before the call ended", "failed"),
}


def _ended(columns: Mapping[str, Any]) -> Step:
    title, outcome = _ENDS.get(columns["state"], (columns["state"], "done"))
    details = [columns["status"] or ""]
    if columns["error_code"]:
        details.append(columns["error_code"])
    if columns["finish_reason"]:
        details.append(f"finish reason {columns['finish_reason']}")
    return Step("ledger", title, ", ".join(filter(None, details)), outcome)

"""Prometheus metrics of the calls, summed over the workers of this machine; no end-user labels, names of the field.

Source: OpenTelemetry GenAI semantic conventions for ``gen_ai_*``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from backend.call import Entry
from backend.metrics.families import Family
from backend.metrics.log import log_calls

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
_GEN_AI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_TOKENS = tuple(4.0**power for power in range(14))
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_NUSD = 1e-9
_MOST_LABELS = 2000
"""Different label sets kept apart; model names come from callers, so the rest count as ``other``."""
_STALE_S = 5.0
_BEHIND_S = 0.05
_TOGETHER = 32
"""So many calls at most are counted in one go: calls in flight wait meanwhile."""
_HITS = frozenset({"exact", "semantic", "coalesced"})


class Metrics:
    """Counts each call when it is closed, and exposes what all workers counted."""

    def __init__(self, folder: Path, worker: str, drainer: Callable[[], Any]) -> None:
        self._file = folder / f"{worker}.metrics"
        self._drainer = drainer
        """Reads what the drainer last said: ``spool_bytes``, ``lag_s``, ``quarantined``; None before its first word."""
        self.open_calls: Callable[[], int] = lambda: 0
        self._children: dict[tuple[str | None, ...], _Children] = {}
        self.families = _Families()
        self._closed: list[Entry] = []

    def observe(self, entry: Entry) -> None:
        """Count a closed call and write its log line, a moment later and together with others: that costs less."""
        if not self._closed:
            asyncio.get_running_loop().call_later(_BEHIND_S, self.catch_up)
        self._closed.append(entry)
        if len(self._closed) >= _TOGETHER:
            self.catch_up()

    def catch_up(self) -> None:
        """Count what has been closed so far."""
        closed, self._closed = self._closed, []
        for entry in closed:
            self._count(entry)
        if closed:
            log_calls(closed)

    def _count(self, entry: Entry) -> None:
        key = (entry.model, entry.deployment, entry.status, entry.cache_kind, entry.provider, entry.endpoint)
        children = self._children.get(key)
        if children is None:
            if len(self._children) >= _MOST_LABELS:
                key = ("other", "other", *key[2:4], "other", key[5])
            children = self._children[key] = _Children(self.families, *(part or "none" for part in key))
        children.count(entry)

    async def watch(self) -> None:
        """Publish every second until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            with contextlib.suppress(OSError):
                self.publish()

    def publish(self) -> None:
        """Write this worker's numbers where the other workers find them."""
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(self._snapshot()))
        draft.replace(self._file)

    def withdraw(self) -> None:
        """Take this worker's file away when it ends."""
        self.catch_up()
        self._file.unlink(missing_ok=True)

    def expose(self) -> tuple[bytes, str]:
        """The metrics of all workers in Prometheus's text format, and its content type."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Every family, summed over the workers; called by the registry."""
        snapshots = [self._snapshot(), *self._others()]
        for family in self.families.every:
            yield family.merged([snapshot["families"].get(family.name, []) for snapshot in snapshots])
        open_calls = sum(snapshot["open_calls"] for snapshot in snapshots)
        yield GaugeMetricFamily("governor_open_calls", "Calls in flight.", value=open_calls)
        status = self._drainer()
        if status is not None:
            yield GaugeMetricFamily("governor_spool_bytes", "Bytes not yet drained.", value=status.spool_bytes)
            yield GaugeMetricFamily("governor_drain_lag_seconds", "Age of the oldest record.", value=status.lag_s)
            yield GaugeMetricFamily("governor_quarantined_records", "Records set aside.", value=status.quarantined)

    def _snapshot(self) -> dict[str, Any]:
        self.catch_up()
        families = {family.name: family.snapshot() for family in self.families.every}
        return {"layout": self.families.layout, "families": families, "open_calls": self.open_calls()}

    def _others(self) -> Iterable[dict[str, Any]]:
        for path in self._file.parent.glob("*.metrics"):
            if path == self._file:
                continue
            try:
                if time.time() - path.stat().st_mtime >= _STALE_S:
                    path.unlink()
                    continue
                snapshot = orjson.loads(path.read_bytes())
            except (OSError, orjson.JSONDecodeError):
                continue
            if isinstance(snapshot, dict) and snapshot.get("layout") == self.families.layout:
                yield snapshot


class _Families:
    """Every metric of the calls, declared once."""

    def __init__(self) -> None:
        self.calls = Family("llm_api_calls", "Calls closed.", ("model", "deployment", "status"))
        self.costs = Family("llm_api_costs_dollars", "Cost in US dollars.", ("model",))
        self.saved = Family("llm_api_saved_dollars", "Saved in US dollars.", ("model",))
        self.tokens = Family("llm_api_tokens", "Tokens.", ("model", "type"))
        self.unpriced = Family("llm_api_unpriced_calls", "Calls whose cost is unknown.", ("model",))
        self.hits = Family("llm_cache_hits", "Answers from the cache.", ("kind",))
        self.misses = Family("llm_cache_misses", "Look-ups that found nothing.", ())
        self.latency = Family("llm_api_latency_seconds", "Whole call.", ("model",), _SECONDS)
        self.ttft = Family("llm_api_ttft_seconds", "Until the first chunk.", ("model",), _SECONDS)
        self.overhead = Family("llm_api_overhead_seconds", "Spent in Governor.", (), _OVERHEAD)
        duration = "gen_ai_client_operation_duration_seconds"
        self.duration = Family(duration, "Whole call.", _GEN_AI, _GEN_AI_SECONDS)
        token_labels = (*_GEN_AI, "gen_ai_token_type")
        self.usage = Family("gen_ai_client_token_usage", "Tokens of a call.", token_labels, _GEN_AI_TOKENS)
        self.misses.child()
        self.every = tuple(family for family in vars(self).values() if isinstance(family, Family))
        self.layout = [[family.name, *family.shape] for family in self.every]
        """Numbers of a worker of another version are only summed where they mean the same."""


class _Children:
    """The counters and histograms of one kind of call."""

    def __init__(self, families: _Families, *key: str) -> None:
        model, deployment, status, cache_kind, provider, endpoint = key
        self.calls = families.calls.child(model, deployment, status)
        self.costs, self.saved = families.costs.child(model), families.saved.child(model)
        self.unpriced = families.unpriced.child(model)
        self.prompt, self.completion = (
            families.tokens.child(model, "prompt"),
            families.tokens.child(model, "completion"),
        )
        self.cached = families.tokens.child(model, "cached")
        self.latency, self.ttft = families.latency.child(model), families.ttft.child(model)
        self.overhead = families.overhead.child()
        self.duration = families.duration.child(endpoint, provider, model)
        self.input = families.usage.child(endpoint, provider, model, "input")
        self.output = families.usage.child(endpoint, provider, model, "output")
        self.cache = [0.0]
        if cache_kind in _HITS:
            self.cache = families.hits.child(cache_kind)
        elif cache_kind == "miss":
            self.cache = families.misses.child()

    def count(self, entry: Entry) -> None:
        """Count one call."""
        self.calls[0] += 1
        self.cache[0] += 1
        if entry.cost_nusd is None:
            self.unpriced[0] += 1
        else:
            self.costs[0] += entry.cost_nusd * _NUSD
        self.saved[0] += (entry.saved_nusd or 0) * _NUSD
        self._count_tokens(entry)
        seconds = (entry.latency_ms or 0.0) / 1000.0
        self.latency.observe(seconds)
        self.duration.observe(seconds)
        if entry.ttft_ms is not None:
            self.ttft.observe(entry.ttft_ms / 1000.0)
        self.overhead.observe((entry.overhead_ms or 0.0) / 1000.0)

    def _count_tokens(self, entry: Entry) -> None:
        if entry.prompt_tokens is not None:
            self.prompt[0] += entry.prompt_tokens
            self.input.observe(entry.prompt_tokens)
        if entry.completion_tokens is not None:
            self.completion[0] += entry.completion_tokens
            self.output.observe(entry.completion_tokens)
        self.cached[0] += entry.cached_tokens or 0

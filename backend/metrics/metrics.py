"""Prometheus metrics of the calls; no end-user labels, names of the field.

Source: DESIGN.md section 6; OpenTelemetry GenAI semantic conventions for ``gen_ai_*``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from backend.call import Entry
from backend.metrics.log import log_call

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
_GEN_AI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_TOKENS = tuple(4.0**power for power in range(14))
_NUSD = 1e-9
_MOST_LABELS = 2000
"""Different label sets kept apart; model names come from callers, so the rest count as ``other``."""


class Metrics:
    """Counts a call when it is closed; label children are kept, because looking them up costs more than counting."""

    def __init__(self, drainer: Callable[[], Any]) -> None:
        self._drainer = drainer
        """Reads what the drainer last said: ``spool_bytes``, ``lag_s``, ``quarantined``; None before its first word."""
        self._registry = CollectorRegistry()
        self._declare()
        self._children: dict[tuple[str | None, ...], _Children] = {}
        self._multiprocess = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))

    def _declare(self) -> None:
        made: dict[str, Any] = {"registry": self._registry}
        self._calls = Counter("llm_api_calls", "Calls closed.", ("model", "deployment", "status"), **made)
        self._costs = Counter("llm_api_costs_dollars", "Cost in US dollars.", ("model",), **made)
        self._saved = Counter("llm_api_saved_dollars", "Saved in US dollars.", ("model",), **made)
        self._tokens = Counter("llm_api_tokens", "Tokens.", ("model", "type"), **made)
        self._unpriced = Counter("llm_api_unpriced_calls", "Calls whose cost is unknown.", ("model",), **made)
        self._hits = Counter("llm_cache_hits", "Answers from the cache.", ("kind",), **made)
        self._misses = Counter("llm_cache_misses", "Look-ups that found nothing.", **made)
        histogram = {**made, "labelnames": ("model",)}
        self._latency = Histogram("llm_api_latency_seconds", "Whole call.", buckets=_SECONDS, **histogram)
        self._ttft = Histogram("llm_api_ttft_seconds", "Until the first chunk.", buckets=_SECONDS, **histogram)
        self._overhead = Histogram("llm_api_overhead_seconds", "Spent in Governor.", buckets=_OVERHEAD, **made)
        names = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds", "Whole call.", names, buckets=_GEN_AI_SECONDS, **made
        )
        self._usage = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a call.",
            (*names, "gen_ai_token_type"),
            buckets=_GEN_AI_TOKENS,
            **made,
        )
        self.open_calls = Gauge("governor_open_calls", "Calls in flight.", multiprocess_mode="livesum", **made)
        self.spool_bytes = Gauge("governor_spool_bytes", "Undrained bytes.", multiprocess_mode="mostrecent", **made)
        self.drain_lag = Gauge("governor_drain_lag_seconds", "Drain lag.", multiprocess_mode="mostrecent", **made)
        self.quarantined = Gauge(
            "governor_quarantined_records_total", "Records set aside.", multiprocess_mode="mostrecent", **made
        )

    def observe(self, entry: Entry) -> None:
        """Count one closed call and write its log line."""
        key = (entry.model, entry.deployment, entry.status, entry.cache_kind, entry.provider, entry.endpoint)
        children = self._children.get(key)
        if children is None:
            children = self._adopt(key)
        children.count(entry)
        log_call(entry)

    def expose(self) -> tuple[bytes, str]:
        """The metrics of all workers in Prometheus's text format, and its content type."""
        status = self._drainer()
        if status is not None:
            self.spool_bytes.set(status.spool_bytes)
            self.drain_lag.set(status.lag_s)
            self.quarantined.set(status.quarantined)
        registry = self._registry
        if self._multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _adopt(self, key: tuple[str | None, ...]) -> _Children:
        if len(self._children) >= _MOST_LABELS:
            key = ("other", "other", *key[2:4], "other", key[5])
        model, deployment, status, cache_kind, provider, endpoint = (part or "none" for part in key)
        children = _Children()
        children.calls = self._calls.labels(model, deployment, status)
        children.costs, children.saved = self._costs.labels(model), self._saved.labels(model)
        children.unpriced = self._unpriced.labels(model)
        children.prompt, children.completion = (
            self._tokens.labels(model, "prompt"),
            self._tokens.labels(model, "completion"),
        )
        children.cached = self._tokens.labels(model, "cached")
        children.latency, children.ttft = self._latency.labels(model), self._ttft.labels(model)
        children.overhead = self._overhead
        children.duration = self._duration.labels(endpoint, provider, model)
        children.input = self._usage.labels(endpoint, provider, model, "input")
        children.output = self._usage.labels(endpoint, provider, model, "output")
        hit = cache_kind in ("exact", "semantic", "coalesced")
        children.cache = self._hits.labels(cache_kind) if hit else self._misses if cache_kind == "miss" else None
        self._children[key] = children
        return children


class _Children:
    """The labelled counters of one kind of call."""

    calls: Any
    costs: Any
    saved: Any
    unpriced: Any
    prompt: Any
    completion: Any
    cached: Any
    latency: Any
    ttft: Any
    overhead: Any
    duration: Any
    input: Any
    output: Any
    cache: Any

    def count(self, entry: Entry) -> None:
        self.calls.inc()
        if self.cache is not None:
            self.cache.inc()
        if entry.cost_nusd is None:
            self.unpriced.inc()
        elif entry.cost_nusd:
            self.costs.inc(entry.cost_nusd * _NUSD)
        if entry.saved_nusd:
            self.saved.inc(entry.saved_nusd * _NUSD)
        self._count_tokens(entry)
        self._count_times(entry)

    def _count_tokens(self, entry: Entry) -> None:
        if entry.prompt_tokens is not None:
            self.prompt.inc(entry.prompt_tokens)
            self.input.observe(entry.prompt_tokens)
        if entry.completion_tokens is not None:
            self.completion.inc(entry.completion_tokens)
            self.output.observe(entry.completion_tokens)
        if entry.cached_tokens:
            self.cached.inc(entry.cached_tokens)

    def _count_times(self, entry: Entry) -> None:
        seconds = (entry.latency_ms or 0.0) / 1000.0
        self.latency.observe(seconds)
        self.duration.observe(seconds)
        if entry.ttft_ms is not None:
            self.ttft.observe(entry.ttft_ms / 1000.0)
        self.overhead.observe((entry.overhead_ms or 0.0) / 1000.0)

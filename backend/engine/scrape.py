"""What an engine did between two readings of its metrics: rates, shares, percentiles; nothing where nothing happened.

A sample never holds NaN: a figure that needs traffic is None without it. Counters that began anew are taken from zero.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from backend.engine.reading import VOCABULARIES, Reading, Series, Vocabulary, read_series

PATIENCE_S = 5.0
QUANTILES: Mapping[str, float] = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_MOST_BYTES = 16 * 1024 * 1024
_LATENCIES = ("ttft", "itl", "total")


class MetricsUnread(Exception):
    """The engine's metrics could not be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of a duration in milliseconds over ``calls`` events; interpolated inside the server's buckets."""

    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Sample:
    """An engine at a moment (epoch ms), and what it did in the ``span_ms`` before it (None at a first look)."""

    at: int
    span_ms: int | None = None
    running: int | None = None
    waiting: int | None = None
    kv_use: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    kv_tokens: int | None = None
    prefix_hit_rate: float | None = None
    """Share of the looked-up prompt tokens that the prefix cache held."""
    preemptions: int | None = None
    acceptance: float | None = None
    """Share of drafted tokens that were accepted."""
    acceptance_by_position: tuple[float, ...] = ()
    tokens_per_draft: float | None = None
    """Tokens each verification step yielded: one, and those accepted of the draft."""
    finished: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_per_s: float | None = None
    completion_tokens_per_s: float | None = None
    ttft: Latency | None = None
    itl: Latency | None = None
    total: Latency | None = None
    restarted: bool = False
    gpus: tuple[Mapping[str, Any], ...] = field(default=())

    def figures(self) -> dict[str, Any]:
        """The sample as plain data, for storage."""
        return asdict(self)


def take_reading(url: str, server: str = "vllm", timeout_s: float = PATIENCE_S) -> Reading:
    """Read a server's ``/metrics``; ``url`` may be its address with or without ``/v1``. Raises ``MetricsUnread``."""
    vocabulary = VOCABULARIES.get(server)
    if vocabulary is None:
        raise MetricsUnread(f"{server} publishes no metrics that can be read")
    text = _fetch(url, timeout_s)
    return read_text(text, vocabulary, time.time_ns() // 1_000_000)


def take_sample(url: str, before: Reading | None = None, server: str = "vllm") -> tuple[Sample, Reading]:
    """A sample since ``before``, and the reading that the next one needs. Raises ``MetricsUnread``."""
    after = take_reading(url, server)
    return compare(before, after), after


def read_text(text: str, vocabulary: Vocabulary, at: int) -> Reading:
    """A reading out of Prometheus's text format. Raises ``MetricsUnread`` on text that is none."""
    try:
        return read_series(_parse(text), vocabulary, at)
    except (ValueError, KeyError, IndexError) as problem:
        raise MetricsUnread(f"the metrics make no sense: {problem}") from None


def compare(before: Reading | None, after: Reading) -> Sample:
    """What happened between two readings; a server that started anew meanwhile is counted from its start."""
    gauges = after.gauges
    state: dict[str, Any] = {
        "at": after.at,
        "running": _whole(gauges.get("running")),
        "waiting": _whole(gauges.get("waiting")),
        "kv_use": gauges.get("kv_use"),
        "kv_tokens": after.kv_tokens,
    }
    if before is None or after.at <= before.at:
        return Sample(**state)
    restarted = _began_anew(before, after)
    since = Reading(before.at) if restarted else before
    return Sample(**state, **_flow(since, after), restarted=restarted)


def _flow(before: Reading, after: Reading) -> dict[str, Any]:
    grown = {name: value - before.counters.get(name, 0.0) for name, value in after.counters.items()}
    span_s = (after.at - before.at) / 1000
    places = after.accepted_by_position
    accepted = [value - before.accepted_by_position.get(place, 0.0) for place, value in places.items()]
    drafts = grown.get("drafts", 0.0)
    return {
        "span_ms": after.at - before.at,
        "prefix_hit_rate": _share(grown.get("prefix_hits"), grown.get("prefix_queries")),
        "preemptions": _whole(grown.get("preemptions")),
        "acceptance": _share(grown.get("accepted"), grown.get("drafted")),
        "acceptance_by_position": tuple(each / drafts for each in accepted) if drafts else (),
        "tokens_per_draft": 1 + grown.get("accepted", 0.0) / drafts if drafts else None,
        "finished": _whole(grown.get("finished")),
        "prompt_tokens": _whole(grown.get("prompt_tokens")),
        "completion_tokens": _whole(grown.get("completion_tokens")),
        "prompt_tokens_per_s": _rate(grown.get("prompt_tokens"), span_s),
        "completion_tokens_per_s": _rate(grown.get("completion_tokens"), span_s),
        **{name: _latency(before.histograms.get(name, {}), after.histograms.get(name, {})) for name in _LATENCIES},
    }


def quantile(counts: Mapping[float, float], share: float) -> float | None:
    """The value below which a share of events lies, in the bounds' unit; None without events.

    ``counts`` maps upper bounds to events up to them. Interpolated in its bucket, as Prometheus does; what lies beyond
    the last finite bound is that bound.
    """
    bounds = sorted(counts)
    total = counts[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for bound in bounds:
        if counts[bound] >= rank and counts[bound] > below:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (rank - below) / (counts[bound] - below)
        low, below = (bound if bound != float("inf") else low), counts[bound]
    return low


def _latency(before: Mapping[float, float], after: Mapping[float, float]) -> Latency | None:
    grown = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    found = {name: quantile(grown, share) for name, share in QUANTILES.items()}
    values = [value * 1000 for value in found.values() if value is not None]
    return Latency(round(max(grown.values())), *values) if len(values) == len(QUANTILES) else None


def _began_anew(before: Reading, after: Reading) -> bool:
    if before.born is not None and after.born is not None and after.born > before.born + 1:
        return True
    return any(after.counters.get(name, value) < value for name, value in before.counters.items())


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _rate(amount: float | None, span_s: float) -> float | None:
    return amount / span_s if amount else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _parse(text: str) -> Series:
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - only where engines are

    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _fetch(url: str, timeout_s: float) -> str:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    path = parts.path.rstrip("/").removesuffix("/metrics").removesuffix("/v1") + "/metrics"
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        raw = response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise MetricsUnread(f"no metrics at {parts.netloc} ({type(error).__name__})") from None
    finally:
        connection.close()
    if response.status != 200:
        raise MetricsUnread(f"{parts.netloc} answered {response.status} when asked for its metrics")
    return raw.decode("utf-8", "replace")

"""A short fixed load on one engine, the same before and after a change, and what it measured."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import orjson

from backend.engine.health import Place
from backend.settings.knobs import EngineSettings, EngineSpec

MOST_AT_ONCE = 8
ANSWER_TOKENS = 32
_WORDS = "the count of every word in this list is written beside the name of its owner and read again later"
_CALL_WITHIN_S = 120.0
_WORSE = 1.1
"""A figure that missed its target before must be this much worse to count against a change."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One call: when its tokens came (seconds from its start), how many there were; no tokens when it failed."""

    arrivals_s: tuple[float, ...] = ()
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load measured; a figure without any call to stand on is None. Money is nano-dollars."""

    calls: int
    error_rate: float
    tokens_per_s: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    itl_p95_ms: float | None
    nusd_per_mtok: int | None
    """Per million completion tokens, at this load."""

    def plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return asdict(self)


def measure(place: Place, spec: EngineSpec, calls: int) -> Figures:
    """Send the fixed load to an engine and measure it (blocking)."""
    at_once = min(MOST_AT_ONCE, spec.max_num_seqs, calls)
    began = time.monotonic()
    with ThreadPoolExecutor(at_once, thread_name_prefix="trial") as pool:
        taken = list(pool.map(lambda number: take(place, spec, number), range(calls)))
    return sum_up(taken, time.monotonic() - began, spec)


def sum_up(taken: Sequence[Taken], seconds: float, spec: EngineSpec) -> Figures:
    """Figures of calls that took so long together."""
    good = [each for each in taken if each.arrivals_s]
    tokens = sum(each.completion_tokens for each in good)
    gaps = [
        later - earlier for each in good for earlier, later in zip(each.arrivals_s, each.arrivals_s[1:], strict=False)
    ]
    first = [each.arrivals_s[0] for each in good]
    return Figures(
        calls=len(taken),
        error_rate=(len(taken) - len(good)) / len(taken) if taken else 0.0,
        tokens_per_s=tokens / seconds if tokens and seconds > 0 else None,
        ttft_p50_ms=percentile_ms(first, 0.50),
        ttft_p95_ms=percentile_ms(first, 0.95),
        itl_p95_ms=percentile_ms(gaps, 0.95),
        nusd_per_mtok=price_nusd(spec, tokens, seconds),
    )


def price_nusd(spec: EngineSpec, tokens: int, seconds: float) -> int | None:
    """Nano-dollars per million tokens of an engine that made so many in so long; None without a price or a token."""
    if spec.usd_per_gpu_hour is None or not tokens:
        return None
    nusd = spec.usd_per_gpu_hour * 1_000_000_000 * spec.gpus * Decimal(seconds) / 3600
    return int(nusd * 1_000_000 / tokens)


def percentile_ms(seconds: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile in milliseconds; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    rank = max(0, -int(-share * len(ordered) // 1) - 1)
    return round(ordered[min(rank, len(ordered) - 1)] * 1000, 3)


def find_broken(before: Figures, after: Figures, knobs: EngineSettings) -> str:
    """Which target the engine misses after a change that it kept before, or missed by clearly less; empty when none."""
    targets = {
        "error_rate": ("errors", knobs.slo_error_rate),
        "ttft_p95_ms": ("TTFT p95 ms", knobs.slo_ttft_p95_ms),
        "itl_p95_ms": ("ITL p95 ms", knobs.slo_itl_p95_ms),
    }
    found = []
    for name, (title, target) in targets.items():
        old, new = getattr(before, name), getattr(after, name)
        if new is not None and new > target and (old is None or old <= target or new > old * _WORSE):
            found.append(f"{title} {new:g} is above {target:g} (was {'unknown' if old is None else f'{old:g}'})")
    return "; ".join(found)


def take(place: Place, spec: EngineSpec, number: int) -> Taken:
    """One streamed call of the load; failures are counted, never raised."""
    body: dict[str, Any] = {
        "model": place.model,
        "prompt": f"{number}. {_WORDS}",
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if spec.server in {"vllm", "sglang"}:
        body["ignore_eos"] = True
    parts = urlsplit(place.url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=_CALL_WITHIN_S)
    try:
        began = time.monotonic()
        connection.request("POST", f"{parts.path}/completions", orjson.dumps(body), place.headers)
        response = connection.getresponse()
        return _read_stream(response, began) if response.status == 200 else Taken()
    except (OSError, http.client.HTTPException, ValueError):
        return Taken()
    finally:
        connection.close()


def _read_stream(response: http.client.HTTPResponse, began: float) -> Taken:
    arrivals: list[float] = []
    tokens = 0
    for line in response:
        if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
            continue
        event = orjson.loads(line[5:])
        if any(choice.get("text") for choice in event.get("choices") or ()):
            arrivals.append(time.monotonic() - began)
        usage = event.get("usage") or {}
        tokens = max(tokens, usage.get("completion_tokens") or 0)
    return Taken(tuple(arrivals), tokens or len(arrivals))

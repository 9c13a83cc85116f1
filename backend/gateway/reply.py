"""OpenAI's wire out: decision headers, whole bodies, event streams, errors before and inside a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from backend.call import Entry
from backend.errors import GatewayError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_PRIVATE: Headers = [
    (b"cache-control", b"private, no-store"),
    (b"vary", b"authorization"),
    (b"x-content-type-options", b"nosniff"),
]
JSON: Headers = [(b"content-type", b"application/json"), *_PRIVATE]
EVENTS: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"), *_PRIVATE]
_CACHE_WORDS = {
    "exact": b"HIT",
    "semantic": b"SEMANTIC HIT",
    "miss": b"MISS",
    "bypass": b"BYPASS",
    "coalesced": b"COALESCED",
    None: b"BYPASS",
}
_NUSD = 1_000_000_000


def decision_headers(entry: Entry) -> Headers:
    """What was decided and what it cost, as far as it is known when headers go out; money in US dollars, exact."""
    latency_ms = entry.age_ms
    overhead_ms = entry.overhead_ms
    if overhead_ms is None:
        overhead_ms = max(latency_ms - entry.upstream_s * 1000.0, 0.0)
    call_id, cost = entry.id.encode(), _dollars(entry.cost_nusd)
    overhead, attempts = b"%.3f" % overhead_ms, b"%d" % entry.attempts
    headers: Headers = [
        (b"x-request-id", call_id),
        (b"x-governor-call-id", call_id),
        (b"x-governor-cache", _CACHE_WORDS[entry.cache_kind]),
        (b"x-governor-attempts", attempts),
        (b"x-governor-overhead-ms", overhead),
        (b"x-governor-settings-version", b"%d" % (entry.settings_version or 0)),
        (b"x-governor-cost", cost),
        (b"x-governor-cost-nusd", b"unknown" if entry.cost_nusd is None else b"%d" % entry.cost_nusd),
        (b"x-governor-saved", _dollars(entry.saved_nusd)),
        (b"x-litellm-call-id", call_id),
        (b"x-litellm-response-cost", cost),
        (b"x-litellm-overhead-duration-ms", overhead),
        (b"x-litellm-response-duration-ms", b"%.3f" % latency_ms),
        (b"x-litellm-attempted-retries", b"%d" % max(entry.attempts - 1, 0)),
    ]
    _add_route(headers, entry)
    return headers


def _add_route(headers: Headers, entry: Entry) -> None:
    if entry.deployment is not None:
        name = entry.deployment.encode()
        headers.append((b"x-governor-deployment", name))
        headers.append((b"x-litellm-model-id", name))
        if entry.provider == "simulated":
            headers.append((b"x-governor-simulated", b"true"))
    if entry.model is not None and entry.model.isascii():
        headers.append((b"x-litellm-model-group", entry.model.encode()))
    if entry.rule is not None and entry.rule.isascii() and entry.rule.isprintable():
        headers.append((b"x-governor-rule", entry.rule.encode()))
    if entry.similarity is not None:
        headers.append((b"x-governor-similarity", b"%.4f" % entry.similarity))
    if entry.source_call_id is not None:
        headers.append((b"x-governor-source-call-id", entry.source_call_id.encode()))
    if entry.cache_age_s is not None:
        headers.append((b"age", b"%d" % entry.cache_age_s))


def _dollars(nusd: int | None) -> bytes:
    """Nano-dollars as an exact decimal: 1500 -> 0.0000015; None -> unknown."""
    if nusd is None:
        return b"unknown"
    whole, rest = divmod(nusd, _NUSD)
    text = f"{whole}.{rest:09d}".rstrip("0")
    return text.removesuffix(".").encode()


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A response with a body of known length."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: GatewayError, headers: Headers) -> None:
    """An error as a response of its own."""
    await send_whole(send, error.status, [*JSON, *headers, *error.headers()], error.body())

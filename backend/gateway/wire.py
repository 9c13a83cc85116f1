"""OpenAI's request wire: a body becomes a Call, or a 400 that says which parameter is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from backend.call import Arrival, Call
from backend.errors import BadRequest, LoopDetected
from backend.gateway.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backend.settings.knobs import GatewaySettings

HOPS = b"x-governor-hops"
_COUNTS = {"max_tokens": 0, "max_completion_tokens": 0, "n": 1, "best_of": 1, "top_logprobs": 0, "logprobs": 0}
"""Numeric fields that multiply the bill, with their least sensible value."""
_MAX_COUNT = 10_000_000


def read_call(arrival: Arrival, settings: GatewaySettings) -> Call:
    """Parse and validate; raises ``BadRequest``, ``BodyTooLarge`` or ``LoopDetected``."""
    if arrival.problem is not None:
        raise arrival.problem
    body = parse_object(arrival.body, settings.max_depth)
    headers = arrival.headers
    hops = _read_hops(headers, settings.max_hops)
    _require_prompt(arrival.endpoint, body)
    _check_counts(body)
    options = _mapping(body, "stream_options")
    return Call(
        endpoint=arrival.endpoint,
        body=body,
        model=_read_model(body),
        stream=_read_stream(arrival, body),
        wants_usage=options.get("include_usage") is True,
        cache=_read_cache(headers, body),
        idempotency_key=_text(headers, b"idempotency-key"),
        deployment=_text(headers, b"x-governor-deployment"),
        latency_budget_ms=_positive(headers, b"x-governor-latency-budget-ms"),
        hops=hops,
    )


def _read_model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > 256 or not model.isprintable():
        raise BadRequest("You must provide a model: a non-empty string of at most 256 characters.", param="model")
    return model


def _read_stream(arrival: Arrival, body: dict[str, Any]) -> bool:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("stream must be true or false.", param="stream")
    if stream and arrival.endpoint == "embeddings":
        raise BadRequest("Embeddings cannot be streamed.", param="stream")
    return bool(stream)


def _require_prompt(endpoint: str, body: dict[str, Any]) -> None:
    if endpoint == "chat.completions":
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages must be a non-empty array.", param="messages")
        if not all(isinstance(message, dict) for message in messages):
            raise BadRequest("Each of messages must be an object.", param="messages")
        return
    field = "input" if endpoint == "embeddings" else "prompt"
    if not isinstance(body.get(field), str | list) or not body[field]:
        raise BadRequest(f"{field} must be a non-empty string or array.", param=field)


def _check_counts(body: dict[str, Any]) -> None:
    for name, least in _COUNTS.items():
        value = body.get(name)
        if value is None or (name == "logprobs" and isinstance(value, bool)):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_COUNT:
            raise BadRequest(f"{name} must be a whole number between {least} and {_MAX_COUNT}.", param=name)
    temperature = body.get("temperature")
    if temperature is not None and (isinstance(temperature, bool) or not isinstance(temperature, int | float)):
        raise BadRequest("temperature must be a number.", param="temperature")


def _mapping(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object.", param=name)
    return value


def _read_hops(headers: Mapping[bytes, bytes], limit: int) -> int:
    raw = headers.get(HOPS)
    if raw is None:
        return 0
    hops = int(raw) if raw.isdigit() and len(raw) < 4 else limit
    if hops >= limit:
        raise LoopDetected(f"This request has already passed {limit} gateways; a deployment points back at Governor.")
    return hops


def _read_cache(headers: Mapping[bytes, bytes], body: dict[str, Any]) -> dict[str, Any]:
    """The caller's cache directives: body ``cache`` (not sent on) and ``Cache-Control``; both may only tighten."""
    directives = dict(_mapping(body, "cache"))
    body.pop("cache", None)
    control = headers.get(b"cache-control", b"").lower()
    if control:
        directives = _tighten(directives, _read_cache_control(control))
    if headers.get(b"helicone-cache-enabled", b"").lower() == b"false":
        directives["no-cache"] = directives["no-store"] = True
    for name in ("ttl", "s-maxage"):
        value = directives.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise BadRequest(f"cache.{name} must be a number of seconds.", param="cache")
    return directives


def _tighten(body: dict[str, Any], header: dict[str, Any]) -> dict[str, Any]:
    """Both sets of directives; of two ages the smaller."""
    both = body | header
    ages = [age for age in (body.get("s-maxage"), header.get("s-maxage")) if isinstance(age, int | float)]
    return both | {"s-maxage": min(ages)} if ages else both


def _read_cache_control(control: bytes) -> dict[str, Any]:
    directives: dict[str, Any] = {}
    for part in control.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name in (b"no-cache", b"no-store"):
            directives[name.decode()] = True
        elif name in (b"max-age", b"s-maxage") and value.isdigit() and len(value) < 12:
            directives["s-maxage"] = int(value)
    return directives


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    raw = headers.get(name)
    if not raw:
        return None
    text = raw.decode("latin-1")
    if len(text) > 256 or not text.isprintable():
        raise BadRequest(f"Header {name.decode()} must be at most 256 printable characters.")
    return text


def _positive(headers: Mapping[bytes, bytes], name: bytes) -> float | None:
    raw = headers.get(name)
    if not raw:
        return None
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3_600_000:
        raise BadRequest(f"Header {name.decode()} must be a positive number of milliseconds.")
    return value

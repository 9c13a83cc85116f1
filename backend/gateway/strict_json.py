"""The strict JSON gate: one parse, and no two readings of one body.

Refused besides malformed text: duplicate keys (the route and the bill could disagree), NaN and infinities, numbers
beyond double range, lone surrogates, invalid UTF-8, nesting beyond the knob. Source: RFC 8259; FAILURES G13, G14.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from backend.errors import BadRequest, BodyTooLarge

MAX_CONTAINERS = 500_000
"""Objects and arrays in one body; parsing more would hold up every other call."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(body: bytes, max_depth: int) -> dict[str, Any]:
    """The body as a dictionary; raises ``BadRequest`` naming what is wrong, or ``BodyTooLarge``."""
    containers = body.count(b"{") + body.count(b"[")
    if containers > MAX_CONTAINERS:
        raise BodyTooLarge(f"The body has more than {MAX_CONTAINERS} objects and arrays.")
    if containers > max_depth:
        _refuse_depth(body, max_depth)
    value = _read_plain(body)
    return _read_strictly(body) if value is None else value


def _read_plain(body: bytes) -> dict[str, Any] | None:
    """What most clients send: compact JSON. Written again it is the same bytes, so it has one reading only."""
    if b'": ' in body[:128]:
        return None
    try:
        value = orjson.loads(body)
        same = type(value) is dict and orjson.dumps(value) == body
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the latter: nested deeper than orjson writes
        return None
    return value if same else None


def _read_strictly(body: bytes) -> dict[str, Any]:
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRequest("The body is not valid UTF-8.") from None
    except _Refused as refused:
        raise BadRequest(str(refused)) from None
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    if b"\\u" in body and _SURROGATE.search(body):
        _refuse_surrogates(value)
    return value


class _Refused(ValueError):
    """Well-formed, but with two readings."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("The body has an object with a duplicate key.")
    return members


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"The body contains {name}, which is not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("The body contains a number that is out of range.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)


def _refuse_depth(body: bytes, max_depth: int) -> None:
    depth = 0
    for byte in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        if byte in b"{[":
            depth += 1
            if depth > max_depth:
                raise BadRequest(f"The body is nested deeper than {max_depth} levels.")
        elif byte in b"}]":
            depth -= 1


def _refuse_surrogates(value: dict[str, Any]) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRequest("The body contains a lone surrogate, which is not text.") from None

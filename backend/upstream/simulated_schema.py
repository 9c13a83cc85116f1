"""The smallest instance of a JSON schema, for simulated structured output and tool arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

MOST_DEPTH = 12
"""A schema nested deeper (or recursive) is closed with the shortest value it allows."""
MOST_STEPS = 20_000
"""Schemas that branch and refer to themselves could demand more values than there are atoms."""
MOST_CHARACTERS = 100_000

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


@dataclass(slots=True)
class _Root:
    """The whole document, for its references, and the steps left to build an instance of it."""

    document: Schema
    left: int = MOST_STEPS

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError("the schema demands too much")


def build_instance(schema: Any) -> Any:
    """A value that satisfies ``schema``; patterns are not honoured. The same schema gives the same value.

    Raises ``ValueError`` or ``RecursionError`` where the schema demands too much.
    """
    return _build(schema, _Root(schema if isinstance(schema, dict) else {}), 0)


def _build(schema: Any, root: _Root, depth: int) -> Any:
    root.step()
    if not isinstance(schema, dict):
        return "simulated"
    schema = _resolve(schema, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = _choose_type(schema, depth)
    if kind == "object":
        return _build_object(schema, root, depth)
    if kind == "array":
        return _build_array(schema, root, depth)
    return _build_scalar(kind, schema)


def _resolve(schema: Schema, root: _Root, depth: int) -> Schema:
    """Follows references and merges ``allOf`` and the first usable alternative."""
    root.step()
    for _ in range(MOST_DEPTH):
        if "$ref" in schema:
            schema = {**_follow(str(schema["$ref"]), root.document), **_without(schema, "$ref")}
        elif schema.get("allOf"):
            schema = _merge([_without(schema, "allOf"), *(_resolve(part, root, depth) for part in schema["allOf"])])
        elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
            schema = _merge([_without(schema, "anyOf", "oneOf"), _choose_alternative(alternatives, root, depth)])
        else:
            break
    return schema


def _follow(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.lstrip("#").strip("/").split("/") if reference != "#" else ():
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _choose_alternative(alternatives: list[Schema], root: _Root, depth: int) -> Schema:
    """The first alternative; below a certain depth a scalar one, so that recursive schemas end."""
    if depth > MOST_DEPTH // 2:
        for alternative in alternatives:
            if _choose_type(_resolve(alternative, root, depth), depth) not in {"object", "array"}:
                return alternative
    return alternatives[0]


def _without(schema: Schema, *names: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in names}


def _merge(parts: list[Schema]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged |= part
        merged |= {"properties": properties} if properties else {}
        merged |= {"required": required} if required else {}
    return merged


def _choose_type(schema: Schema, depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return "null" if depth > MOST_DEPTH // 2 and "null" in kind else str(next(iter(kind), "string"))
    if kind is None:
        if "properties" in schema:
            return "object"
        return "array" if "items" in schema else "string"
    return str(kind)


def _build_object(schema: Schema, root: _Root, depth: int) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = schema.get("required", ())
    wanted = (
        required if depth > MOST_DEPTH // 2 else [*properties, *(name for name in required if name not in properties)]
    )
    if depth > 2 * MOST_DEPTH:
        return {}
    return {name: _build(properties.get(name, {}), root, depth + 1) for name in wanted}


def _build_array(schema: Schema, root: _Root, depth: int) -> list[Any]:
    least = int(schema.get("minItems", 0))
    count = least if depth > MOST_DEPTH // 2 else max(1, least)
    count = min(count, int(schema.get("maxItems", count)))
    leading = schema.get("prefixItems", [])
    items = schema.get("items", {})
    return [_build(leading[i] if i < len(leading) else items, root, depth + 1) for i in range(count)]


def _build_scalar(kind: str, schema: Schema) -> Any:
    if kind == "integer":
        return math.ceil(_build_number(schema))
    if kind == "number":
        return _build_number(schema)
    if kind == "boolean":
        return True
    return None if kind == "null" else _build_string(schema)


def _build_number(schema: Schema) -> float:
    whole = schema.get("type") == "integer"
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    if isinstance(schema.get("exclusiveMinimum"), int | float):
        low = max(low, schema["exclusiveMinimum"] + (1 if whole else 1e-6))
    if isinstance(schema.get("exclusiveMaximum"), int | float):
        high = min(high, schema["exclusiveMaximum"] - (1 if whole else 1e-6))
    value = min(max(1, low), high)
    step = schema.get("multipleOf")
    return float(math.ceil(value / step) * step) if step else float(value)


def _build_string(schema: Schema) -> str:
    text = _FORMATS.get(str(schema.get("format")), "simulated")
    least = int(schema.get("minLength", 0))
    if least > MOST_CHARACTERS:
        raise ValueError("the schema demands too long a text")
    text = text if len(text) >= least else text + "x" * (least - len(text))
    return text[: int(schema.get("maxLength", len(text)))]

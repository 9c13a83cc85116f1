"""Instances of JSON schemas: always valid, always the same."""

from __future__ import annotations

from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from backend.upstream.simulated_schema import build_instance

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 12},
        "count": {"type": "integer", "exclusiveMinimum": 10, "multipleOf": 4},
        "share": {"type": "number", "exclusiveMaximum": 0.5, "minimum": 0},
        "colour": {"enum": ["red", "green"]},
        "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
        "parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "count", "share", "colour", "when", "tags", "parent"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}},
}


def test_a_schema_with_bounds_references_and_recursion_gets_a_valid_instance() -> None:
    instance = build_instance(SCHEMA)
    jsonschema.validate(instance, SCHEMA)
    assert instance == build_instance(SCHEMA)


@given(
    st.recursive(
        st.sampled_from([{"type": kind} for kind in ("string", "integer", "number", "boolean", "null")]),
        lambda inner: st.one_of(
            st.builds(lambda items: {"type": "array", "items": items}, inner),
            st.builds(
                lambda each: {"type": "object", "properties": each, "required": list(each)},
                st.dictionaries(st.text(max_size=5), inner, max_size=4),
            ),
            st.builds(lambda each: {"anyOf": each}, st.lists(inner, min_size=1, max_size=3)),
        ),
    )
)
def test_any_nested_schema_gets_an_instance_that_satisfies_it(schema: dict[str, Any]) -> None:
    jsonschema.validate(build_instance(schema), schema)

"""The simulated provider and requests that demand the impossible: a 400 in no time, never a crash."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import UpstreamRefused
from backend.upstream.simulated_schema import MOST_CHARACTERS, build_instance
from tests.upstream.test_simulated import ask, collect, request

IMPOSSIBLE: list[Any] = [
    {"type": "array", "minItems": 10**9},
    {"type": "string", "minLength": 10**12},
    {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
    {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefghij"}, "required": list("abcdefghij")},
    {"type": "array", "minItems": 300, "items": {"type": "array", "minItems": 300, "items": {"type": "string"}}},
    {"type": "array", "minItems": "many"},
    {"type": "integer", "minimum": 1e308, "multipleOf": 1e-300},
    {"properties": 5},
]


@pytest.mark.parametrize("schema", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_that_cannot_be_met_is_refused(schema: dict[str, Any], stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(UpstreamRefused) as caught:
        await collect(request(ask("x", response_format=form, stream=stream)))
    assert (caught.value.status, caught.value.retry) == (400, False)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"dimensions": 2**31}, 400),
        ({"dimensions": 10**30}, 400),
        ({"input": ["x"] * 10_000}, 400),
        ({"dimensions": -1}, None),
        ({"dimensions": "x"}, None),
    ],
)
async def test_an_embedding_has_a_sensible_size(changes: dict[str, Any], status: int | None) -> None:
    asked = request({"input": "x"} | changes, "embeddings")
    if status is None:
        assert len((await collect(asked))[0].event["data"]) == 1
        return
    with pytest.raises(UpstreamRefused) as caught:
        await collect(asked)
    assert caught.value.status == status


@pytest.mark.parametrize("field", ["stop", "tools"])
@pytest.mark.parametrize("value", [-1, 0.5, "x", [1], [None], {"a": 1}, 2**70])
async def test_a_field_of_another_shape_is_refused_or_read_over(field: str, value: Any) -> None:
    try:
        (chunk,) = await collect(request(ask("x", **{field: value})))
    except UpstreamRefused as refusal:
        if refusal.status != 400:
            raise
    else:
        assert chunk.event["choices"]


def test_the_largest_text_that_may_be_demanded_is_given() -> None:
    text = build_instance({"type": "string", "minLength": MOST_CHARACTERS})
    assert len(text) == MOST_CHARACTERS

"""Shapes of calls: read, cut to a context, turned into requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.shapes import Shape, limit_shapes, read_shape


def test_a_shape_is_read_as_it_is_written() -> None:
    assert read_shape("256:64") == Shape(256, 64)
    assert read_shape(" 256:64:192 ") == Shape(256, 64, 192)


@given(st.integers(1, 9_999_999), st.integers(1, 999_999), st.data())
def test_writing_and_reading_is_the_same_shape(prompt: int, completion: int, data: st.DataObject) -> None:
    shape = Shape(prompt, completion, data.draw(st.integers(0, prompt)))
    assert read_shape(str(shape)) == shape


@pytest.mark.parametrize("text", ["", "256", "256:", "a:b", "0:5", "5:0", "4:4:5", "-1:4", "1:2:3:4"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shape|least one token"):
        read_shape(text)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**5)), max_size=20), st.integers(2, 10**5))
def test_recorded_shapes_are_cut_to_the_context(pairs: list[tuple[int, int]], context: int) -> None:
    for (prompt, completion), shape in zip(pairs, limit_shapes(pairs, context), strict=True):
        assert shape.prompt_tokens + shape.completion_tokens <= context
        assert 1 <= shape.prompt_tokens <= prompt
        assert 1 <= shape.completion_tokens <= completion
        if prompt + completion <= context:
            assert shape == Shape(prompt, completion)

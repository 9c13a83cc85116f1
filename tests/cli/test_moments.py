"""Times as people write them."""

from __future__ import annotations

import time

import pytest
import typer

from backend.cli.moments import read_moment


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-21", 1_795_219_200_000),
        ("2026-11-21T00:28:20.126Z", 1_795_220_900_126),
        ("2026-11-21T01:28:20+01:00", 1_795_220_900_000),
        ("1795220900126", 1_795_220_900_126),
    ],
)
def test_a_moment_without_a_zone_is_utc(text: str, at: int) -> None:
    assert read_moment(text) == at


def test_a_span_counts_back_from_now() -> None:
    before = time.time_ns() // 1_000_000
    assert before - 7_200_000 <= read_moment("2h") <= time.time_ns() // 1_000_000 - 7_200_000


def test_anything_else_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="is no time"):
        read_moment("yesterday")

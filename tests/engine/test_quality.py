"""Perplexity and agreement: arithmetic, and what a served engine is asked."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.health import Place
from backend.engine.quality import (
    Scores,
    Unscored,
    compare_scores,
    cut_rows,
    perplexity_of,
    score_served,
    score_unserved,
    tokenise,
)
from tests.engine.scoring import scoring


def test_a_served_engine_is_asked_for_the_likelihood_of_a_text() -> None:
    told: list[float] = []
    with scoring() as place:
        tokens = tokenise(place, "abc")
        found = score_served(place, [[1, 5, 3]] * 9 + [[2, 2]], told.append)
    assert tokens == [97, 98, 99]
    assert len(found.logprobs) == 10
    assert found.logprobs[0] == (-math.log(4), -math.log(4))
    assert found.tops[0] == (5, 5)
    assert told == [0.8, 1.0]


def test_a_variant_is_compared_position_by_position() -> None:
    reference = Scores(((-1.0, -2.0), (-3.0,)), ((7, 8), (9,)))
    other = Scores(((-1.5, -2.0), (-4.0,)), ((7, 0), (9,)))
    found = compare_scores(reference, other)
    assert found.tokens == 3
    assert found.reference_perplexity == pytest.approx(math.e**2)
    assert found.perplexity == pytest.approx(math.exp(2.5))
    assert found.perplexity_ratio == pytest.approx(math.exp(0.5))
    assert found.agreement == pytest.approx(2 / 3)
    assert found.mean_difference == pytest.approx(0.5)


@given(st.lists(st.lists(st.floats(-20, 0), min_size=1, max_size=5), min_size=1, max_size=5))
def test_a_model_agrees_with_itself_entirely(rows: list[list[float]]) -> None:
    scores = Scores(tuple(map(tuple, rows)), tuple(tuple(range(len(row))) for row in rows))
    found = compare_scores(scores, scores)
    assert (found.agreement, found.mean_difference) == (1.0, 0.0)
    assert found.perplexity == found.reference_perplexity >= 1.0


def test_different_texts_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same tokens"):
        compare_scores(Scores(((-1.0,),), ((1,),)), Scores(((-1.0, -1.0),), ((1, 1),)))


@given(st.integers(2, 500), st.integers(2, 40), st.integers(1, 10))
def test_rows_are_pieces_of_the_text_in_its_order(count: int, length: int, most: int) -> None:
    rows = cut_rows(list(range(count)), length, most)
    assert 1 <= len(rows) <= most
    assert all(2 <= len(row) <= length and row == list(range(row[0], row[0] + len(row))) for row in rows)
    assert rows == sorted(rows)


def test_a_text_without_two_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        cut_rows([1], 8, 4)


def test_perplexity_of_a_fair_die_is_its_faces() -> None:
    assert perplexity_of([-math.log(6)] * 5) == pytest.approx(6)


def test_an_engine_that_is_not_there_or_says_nothing_of_likelihood_is_told_apart() -> None:
    with pytest.raises(Unscored, match="does not answer"):
        score_served(Place("http://127.0.0.1:9/v1", "m"), [[1, 2]])
    with pytest.raises(Unscored, match="could not be scored"):
        score_unserved("nowhere", [[1, 2]], Path(sys.executable).with_name("no-such-python"))

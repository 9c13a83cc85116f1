"""The verifier: symmetric features, monotone curves, a sensible default, and refits only on enough labels."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.semantic.embedding import Embedding
from backend.cache.semantic.gate import compare
from backend.cache.semantic.verifier import FEATURES, LEAST_LABELS, RISES, Phrase, Verifier, fit, measure
from backend.cache.semantic.verifier_fit import Fit, Problem, fit_curves, sigmoid
from backend.cache.semantic.verifier_words import compare_words, rarity


def embed(text: str, *, tokens: bool = True) -> Phrase:
    """A made-up embedding: every word a direction of its own, the text their mean."""
    pieces = text.lower().replace("?", "").split()
    rows = np.stack([np.random.default_rng(sum(piece.encode()) * 7 + len(piece)).normal(size=32) for piece in pieces])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    mean = rows.mean(axis=0)
    vector = mean / np.linalg.norm(mean)
    return Phrase(text, Embedding(vector, rows if tokens else None, tuple(pieces) if tokens else ()))


def judge(asked: str, stored: str) -> float:
    return Verifier.default().probability(embed(asked), embed(stored), compare(asked, stored))


def measured(asked: str, stored: str, **options: bool) -> dict[str, float]:
    values = measure(embed(asked), embed(stored), compare(asked, stored), **options)
    return dict(zip(FEATURES, values.tolist(), strict=True))


QUESTIONS = [
    "how do I cancel my order",
    "help me cancel the purchase",
    "can I pay with my gold card",
    "where is my refund",
    "Ich möchte meine Bestellung stornieren",
    "注文をキャンセルしたい",
]


@given(st.sampled_from(QUESTIONS), st.sampled_from(QUESTIONS))
def test_which_was_asked_first_makes_no_difference(one: str, other: str) -> None:
    forth, back = measured(one, other), measured(other, one)
    assert list(forth.values()) == pytest.approx(list(back.values()), abs=1e-6)


def test_the_same_words_are_probably_the_same_question() -> None:
    asked, stored = "how do I cancel my order", "please tell me how to cancel my order"
    assert judge(asked, asked) > 0.95
    assert judge(asked, stored) > judge(asked, "how do I cancel my flight") + 0.2
    assert judge(asked, "remind me to water the plants") < 0.2


def test_a_disagreeing_gate_lowers_the_probability() -> None:
    one, other = embed("cancel my order"), embed("cancel my order")
    agreeing, differing = compare("a", "a"), compare("order 1", "order 2")
    verifier = Verifier.default()
    assert verifier.probability(one, other, differing) < verifier.probability(one, other, agreeing)


def test_synonyms_count_only_where_they_are_wanted() -> None:
    pair = ("cancel my purchase", "cancel my order")
    assert measured(*pair)["unmatched"] == 0
    assert measured(*pair, synonyms=False)["unmatched"] > 0
    assert measured(*pair)["same words"] == 1


def test_words_of_the_request_are_no_words_of_the_question() -> None:
    found = compare_words("could you please help me to cancel the order", "cancel order")
    assert found.same
    assert not any(found.alone)


def test_two_questions_of_function_words_alone_are_not_the_same() -> None:
    assert not compare_words("what are you", "what was that").same
    assert compare_words("what are you", "what are you?").same


def test_rare_words_weigh_more() -> None:
    assert rarity("the", "en") < rarity("order", "en") < rarity("invoice", "en") <= rarity("zyxxy", "en")
    assert rarity("Bestellung", "de") > rarity("nicht", "de")
    assert rarity("anything", "kana") == rarity("else", "kana")


def test_pieces_are_joined_to_the_words_they_belong_to() -> None:
    found = compare_words("an unsubscription", "an order")
    weights, lonely = found.weigh(("an", "un", "##sub", "##scription"), 0)
    assert weights[0] < weights[1] == weights[3]
    assert lonely.tolist() == [False, True, True, True]


def test_without_token_vectors_the_cosine_stands_in() -> None:
    asked, stored = embed("cancel my order", tokens=False), embed("cancel the order", tokens=False)
    values = dict(zip(FEATURES, measure(asked, stored, compare(asked.text, stored.text)), strict=True))
    assert values["alignment"] == values["alignment of the worst word"] == pytest.approx(values["cosine"])
    assert 0 < Verifier.default().probability(asked, stored, compare(asked.text, stored.text)) < 1


def test_the_shipped_curves_only_go_the_way_they_may() -> None:
    shipped = Verifier.default().fit
    assert len(shipped.curves) == len(FEATURES)
    for curve, rises in zip(shipped.curves, RISES, strict=True):
        assert (np.diff(curve.knots) > 0).all()
        assert (rises * np.diff(curve.values) >= 0).all()


def test_the_default_is_read_once_and_named_by_its_numbers() -> None:
    assert Verifier.default() is Verifier.default()
    assert Verifier.default().name == f"shipped-{Verifier.default().fit.digest()}"
    assert files("backend.cache.semantic").joinpath("verifier.json").is_file()


def test_a_fit_survives_being_written_down() -> None:
    shipped = Verifier.default().fit
    assert Fit.load(shipped.dump()).digest() == shipped.digest()


def make_labels(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of which those with much unmatched are wrong, a little by chance."""
    random = np.random.default_rng(seed)
    features = np.tile(measure(embed("cancel my order"), embed("cancel my order"), compare("a", "a")), (count, 1))
    features[:, FEATURES.index("unmatched")] = random.uniform(0, 1, count)
    features[:, FEATURES.index("same words")] = 0
    chances = sigmoid(4 - 8 * features[:, FEATURES.index("unmatched")])
    return features, (random.uniform(size=count) < chances).astype(np.float64)


def test_too_few_labels_refit_nothing_and_say_so() -> None:
    features, labels = make_labels(LEAST_LABELS - 1)
    assert fit(features, labels) == (None, f"{LEAST_LABELS - 1} labels of at least {LEAST_LABELS}")
    verifier, reason = fit(*make_labels(300)[:1], np.ones(300))
    assert verifier is None
    assert reason == "300 right and 0 wrong labels, of each at least 20"


def test_own_labels_move_the_probabilities_towards_what_was_seen() -> None:
    features, labels = make_labels(2_000)
    refitted, reason = fit(features, labels)
    assert refitted is not None
    assert reason == ""
    shipped = Verifier.default()
    assert refitted.name.startswith("refitted-")
    before, after = shipped.fit.predict(features), refitted.fit.predict(features)
    assert abs(after.mean() - labels.mean()) < abs(before.mean() - labels.mean())
    assert abs(after.mean() - labels.mean()) < 0.02


def test_weights_stand_for_repeated_labels() -> None:
    features, labels = make_labels(400)
    twice, _ = fit(np.tile(features, (2, 1)), np.tile(labels, 2))
    weighed, _ = fit(features, labels, np.full(400, 2.0))
    assert twice is not None
    assert weighed is not None
    assert weighed.fit.predict(features) == pytest.approx(twice.fit.predict(features), abs=1e-3)


def test_curves_rise_and_fall_only_as_allowed() -> None:
    random = np.random.default_rng(5)
    features = random.uniform(size=(3_000, 2))
    labels = (random.uniform(size=3_000) < sigmoid(6 * features[:, 0] - 6 * features[:, 1])).astype(np.float64)
    right = fit_curves(features, labels, np.ones(3_000), np.array([1.0, -1.0]))
    wrong = fit_curves(features, labels, np.ones(3_000), np.array([-1.0, 1.0]))
    spread = [float(np.ptp(curve.values)) for curve in (*right.curves, *wrong.curves)]
    assert min(spread[:2]) > 3
    assert max(spread[2:]) == pytest.approx(0, abs=1e-6)


def test_the_solver_finds_where_the_slope_is_zero() -> None:
    random = np.random.default_rng(6)
    rows = np.column_stack([random.normal(size=500), np.ones(500)])
    labels = (random.uniform(size=500) < sigmoid(1.5 * rows[:, 0] + 0.5)).astype(np.float64)
    found = Problem(rows, labels, np.ones(500), np.zeros(2), ridge=1e-6).solve()
    slope = rows.T @ (sigmoid(rows @ found) - labels)
    assert np.abs(slope[:1]).max() < 1e-2
    assert found == pytest.approx([1.5, 0.5], abs=0.4)


def test_one_pair_gets_the_probability_that_it_gets_among_many() -> None:
    shipped = Verifier.default()
    features = np.random.default_rng(9).uniform(-0.2, 3.0, (200, len(FEATURES)))
    features[:12] = np.column_stack([curve.knots[:1] for curve in shipped.fit.curves])
    one_by_one = [shipped.estimate(row) for row in features]
    assert one_by_one == pytest.approx(shipped.fit.predict(features).tolist(), abs=1e-12)

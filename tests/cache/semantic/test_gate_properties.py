"""What holds for the gate whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.semantic.gate import compare
from backend.cache.semantic.gate_content import corresponds, distance, unmatched
from backend.cache.semantic.gate_language import detect
from tests.cache.semantic.test_gate import AGREE, DIFFER

QUESTIONS = sorted({text for pair in (*AGREE, *(p for pairs in DIFFER.values() for p in pairs)) for text in pair})
ENGLISH = [text for text in QUESTIONS if detect(text)[:1] == ("en",)]
FRAMES = [
    "How do I cancel order {}?",
    "pay {} euros to Anna",
    "¿Dónde está el pedido {}?",
    "Wo ist die Bestellung {}?",
    "Où est la commande {} ?",
    "Onde está o pedido {}?",
    "{} is my number, is it right",
    "dove è il mio ordine {}",
]
NEGATED = [
    ("I {}want my order to be sent", "do not "),
    ("why is my order {}here", "not "),
    ("does it {}work with my phone", "never "),
    ("can I {}cancel my order", "not "),
    ("tell me how {}to pay", "not "),
    ("mi pedido {}está aquí", "no "),
    ("o meu pedido {}está aqui", "não "),
    ("meine Bestellung ist {}hier", "nicht "),
    ("ma commande est {}ici", "pas "),
]

questions = st.sampled_from(QUESTIONS)
texts = questions | st.text(max_size=60)


@given(texts)
def test_a_text_agrees_with_itself(text: str) -> None:
    assert compare(text, text).agrees


@given(texts, texts)
def test_which_was_asked_first_makes_no_difference(one: str, other: str) -> None:
    assert compare(one, other).agrees == compare(other, one).agrees
    assert len(compare(one, other).findings) == len(compare(other, one).findings)


@given(st.sampled_from(FRAMES), st.integers(0, 10**15), st.integers(0, 10**15))
def test_another_number_never_agrees(frame: str, one: int, other: int) -> None:
    assert compare(frame.format(one), frame.format(other)).agrees == (one == other)


@given(st.sampled_from(FRAMES), st.decimals(0, 10**6, places=2), st.decimals(0, 10**6, places=2))
def test_another_fraction_never_agrees(frame: str, one: object, other: object) -> None:
    assert compare(frame.format(one), frame.format(other)).agrees == (one == other)


@given(st.sampled_from(ENGLISH), st.integers(0, 20))
def test_a_negation_put_anywhere_never_agrees(text: str, place: int) -> None:
    words = text.split()
    at = min(place, len(words))
    for negation in ("not", "never"):
        assert not compare(text, " ".join([*words[:at], negation, *words[at:]])).agrees


@pytest.mark.parametrize(("frame", "negation"), NEGATED)
def test_a_negation_never_agrees(frame: str, negation: str) -> None:
    assert not compare(frame.format(""), frame.format(negation)).agrees


@given(st.sampled_from([text for text in ENGLISH if '"' not in text and "`" not in text]))
def test_spaces_and_a_full_stop_change_nothing(text: str) -> None:
    assert compare(text, f"  {text.rstrip('?')} .").agrees


def test_words_that_stand_for_each_other_have_a_counterpart() -> None:
    assert corresponds("cancelling", "cancellation", "en")
    assert corresponds("bill", "invoice", "en")
    assert corresponds("acount", "account", "en")
    assert corresponds("stornieren", "storniert", "de")
    assert not corresponds("form", "from", "en")
    assert not corresponds("gold", "platinum", "en")
    assert unmatched(("cancel", "gold", "account"), ("cancelling", "pro", "profile"), "en") == (("gold",), ("pro",))


@pytest.mark.parametrize(
    ("one", "other", "most", "found"),
    [("account", "acount", 1, 1), ("tesh", "tehs", 1, 1), ("a", "abc", 1, None), ("kitten", "sitting", 3, 3)],
)
def test_letters_between_two_words_are_counted(one: str, other: str, most: int, found: int | None) -> None:
    assert distance(one, other, most) == found


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("how do I cancel my order", "en"),
        ("delete user", "en"),
        ("¿Dónde está mi pedido?", "es"),
        ("Onde está o meu pedido?", "pt"),
        ("Où est ma commande ?", "fr"),
        ("Wo ist meine Bestellung?", "de"),
        ("Dov'è il mio ordine di ieri, per favore", "it"),
        ("Где мой заказ", "cyrillic"),
        ("我的订单在哪里", "han"),
        ("注文をキャンセルしたい", "kana"),
    ],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    assert detect(text)[:1] == (language,)


def test_digits_alone_have_no_language() -> None:
    assert detect("12345") == ()

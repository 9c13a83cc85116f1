from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.cache.semantic.agreement import agree, text_of

ALIKE = (np.array([1.0, 0.0]), np.array([0.99, 0.14]))
UNLIKE = (np.array([1.0, 0.0]), np.array([0.6, 0.8]))


def answer(text: str | None = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}}]}


def calling(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return answer(None, tool_calls=[{"id": call_id, "type": "function", "function": function}])


@pytest.mark.parametrize(
    ("fresh", "cached", "verdict"),
    [
        ("Paris.", "  paris", (True, "exact")),
        ("Go to\n\nSettings", "go to settings.", (True, "exact")),
        ("42", "42.0", (True, "numeric")),
        ("1,000 km", "1000 km", (True, "numeric")),
        ("42", "43", (False, "numeric")),
        ("The total is $1,250.00.", "The total is $1,520.00.", (False, "numeric")),
        ("It is 3 degrees", "It is -3 degrees", (False, "numeric")),
        ("Yes, 3.", "No, 3.", (False, "numeric")),
        ("On 2024-03-01", "On 2024-03-02", (False, "numeric")),
        ('{"a": 1, "b": [1, 2]}', '{"b": [1.0, 2], "a": 1}', (True, "structured")),
        ('```json\n{"city": "Paris"}\n```', '{"city": " paris "}', (True, "structured")),
        ('{"a": 1}', '{"a": 2}', (False, "structured")),
        ('{"a": true}', '{"a": 1}', (False, "structured")),
        ("[1, 2]", "[2, 1]", (False, "structured")),
    ],
)
def test_answers_that_compare_without_a_model(fresh: str, cached: str, verdict: tuple[bool, str]) -> None:
    assert agree(answer(fresh), answer(cached)) == verdict
    assert agree(answer(cached), answer(fresh), ALIKE) == verdict


LONG = "Open the settings page, choose your profile and press the red button to close the account. It takes {} days."


@pytest.mark.parametrize(
    ("fresh", "cached"),
    [
        (LONG.format(3), LONG.format(5)),
        ("You can always get your money back when the order was late.", "You can never get your money back, sadly."),
        ("You do have to pay for it in advance by card.", "You don’t have to pay for it in advance by card."),
        ("Sie können das Konto jederzeit schließen.", "Sie können das Konto nicht jederzeit schließen."),
    ],
)
def test_other_numbers_or_a_negation_on_one_side_only_are_a_difference_however_alike(fresh: str, cached: str) -> None:
    same, _ = agree(answer(fresh), answer(cached), ALIKE)
    assert same is False


def test_other_wordings_are_for_the_embeddings_to_judge() -> None:
    fresh, cached = answer("Press the red button."), answer("Simply click on the red button, please.")
    assert agree(fresh, cached) == (None, "embedding")
    assert agree(fresh, cached, ALIKE) == (True, "embedding")
    assert agree(fresh, cached, UNLIKE) == (False, "embedding")
    assert agree(fresh, cached, UNLIKE, least_cosine=0.5) == (True, "embedding")


def test_equal_numbers_do_not_settle_what_the_words_say() -> None:
    assert agree(answer("3 apples from the garden"), answer("3 pears from the market")) == (None, "embedding")


def test_numbers_that_only_count_a_list_are_no_numbers() -> None:
    fresh = answer("1. Open the settings\n2. Choose a name that you like\n3. Press the button and wait for it")
    cached = answer("- Open the settings\n- Choose a name you like\n- Press the button, then wait for it please")
    assert agree(fresh, cached, ALIKE) == (True, "embedding")


def test_tool_calls_are_compared_by_name_and_arguments() -> None:
    first = calling("weather", '{"city": "Oslo", "days": 2}')
    assert agree(first, calling("weather", '{"days":2,"city":"oslo"}', "call_9")) == (True, "structured")
    assert agree(first, calling("weather", '{"days":3,"city":"Oslo"}')) == (False, "structured")
    assert agree(first, calling("forecast", '{"city": "Oslo", "days": 2}')) == (False, "structured")
    assert agree(first, answer("It rains.")) == (False, "structured")


def test_an_answer_that_says_nothing_cannot_be_compared() -> None:
    assert agree(answer(""), answer("Paris")) == (None, "exact")
    assert agree({}, {}) == (None, "exact")


def test_the_text_is_that_of_all_choices_in_any_form() -> None:
    assert text_of({"choices": [{"text": "a"}, {"text": "b"}]}) == "a\n\nb"
    assert text_of(answer(None, refusal="I will not.")) == "I will not."
    assert text_of({"choices": [{"message": {"content": [{"type": "text", "text": "x"}, "?"]}}]}) == "x"

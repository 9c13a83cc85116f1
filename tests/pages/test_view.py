from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.components.view import View, read_span, read_view, write_span

HOUR_MS = 3_600_000
NOON = 1_790_000_000_000 - 1_790_000_000_000 % HOUR_MS


def lists(view: View) -> dict[str, list[str]]:
    return {name: [each] if isinstance(each, str) else each for name, each in view.parameters().items()}


def test_the_default_view_needs_no_address() -> None:
    assert View().parameters() == {}
    assert read_view({}) == View()


def test_a_link_always_says_its_range_so_that_no_older_view_is_kept() -> None:
    assert View().link(call="7") == {"range": "24h", "call": "7"}


texts = st.text(min_size=1, max_size=40)
views = st.builds(
    View,
    st.sampled_from(["5m", "24h", "90d", write_span(NOON, NOON + HOUR_MS)]),
    st.sampled_from(["model", "key_id", "rule"]),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["model", "user", "status"]), st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple)
    ),
)


@given(views)
def test_a_view_survives_its_address(view: View) -> None:
    assert read_view(lists(view)) == view


@given(
    st.dictionaries(st.sampled_from(["range", "group", "compare", "model", "nonsense"]), st.lists(texts, max_size=3))
)
def test_any_address_gives_a_view_that_can_be_shown(query: dict[str, list[str]]) -> None:
    scope = read_view(query).scope()
    assert scope.start_at < scope.end_at


@pytest.mark.parametrize(
    "text",
    ["", "-", "24h", "20260101T000000-20250101T000000", "20200101T000000-20260101T000000", "x-20260101T000000"],
)
def test_an_impossible_range_is_none(text: str) -> None:
    assert read_span(text) is None


def test_a_chosen_range_is_widened_to_whole_minutes() -> None:
    assert View().spanning(NOON + 1, NOON + HOUR_MS - 1).custom == (NOON, NOON + HOUR_MS)


def test_narrowing_replaces_one_filter_and_keeps_the_others() -> None:
    view = View().narrowed("model", "a").narrowed("user", "u").narrowed("model", "b")
    assert view.filters == {"model": ("b",), "user": ("u",)}
    assert view.narrowed("model").filters == {"user": ("u",)}

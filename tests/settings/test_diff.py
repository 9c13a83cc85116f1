from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.settings.diff import compare, write_unified
from backend.settings.document import dump
from backend.settings.knobs import Settings

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
MEMBERS = st.fixed_dictionaries({"name": st.sampled_from("abc"), "weight": st.integers(0, 2)})
VALUES = st.recursive(
    SCALARS | st.lists(MEMBERS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, min_size=1, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("pqr"), VALUES, max_size=3)


def without_nulls(value: Any) -> Any:
    """Absent and null are the same knob state: a release that adds an empty knob changes nothing."""
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


@given(DOCUMENTS)
def test_a_document_does_not_differ_from_itself(document: dict[str, Any]) -> None:
    assert compare(document, document) == []
    assert write_unified(document, document, ("a", "b")) == ""


@given(DOCUMENTS, DOCUMENTS)
def test_documents_that_differ_have_a_change_and_equal_ones_have_none(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert bool(compare(a, b)) == (without_nulls(a) != without_nulls(b))


@given(DOCUMENTS, DOCUMENTS)
def test_the_way_back_is_the_same_changes_reversed(a: dict[str, Any], b: dict[str, Any]) -> None:
    def flatten(changes: Any, one: str, other: str) -> list[str]:
        return sorted(repr((each["path"], each[one], each[other])) for each in changes)

    assert flatten(compare(a, b), "before", "after") == flatten(compare(b, a), "after", "before")


def test_a_knob_is_named_by_its_path() -> None:
    before = dump(Settings())
    after = {**before, "cache": {**before["cache"], "ttl_s": 60}}
    assert compare(before, after) == [{"path": "cache.ttl_s", "before": 3600, "after": 60}]


def test_a_deployment_is_named_by_its_name_wherever_it_stands() -> None:
    first, second = {"name": "a", "weight": 1}, {"name": "b", "weight": 1}
    changes = compare({"deployments": [first, second]}, {"deployments": [{**second, "weight": 5}]})
    assert changes == [
        {"path": "deployments[a]", "before": first, "after": None},
        {"path": "deployments[b].weight", "before": 1, "after": 5},
    ]


def test_a_new_order_alone_is_a_change() -> None:
    first, second = {"name": "a"}, {"name": "b"}
    changes = compare({"deployments": [first, second]}, {"deployments": [second, first]})
    assert changes == [{"path": "deployments", "before": ["a", "b"], "after": ["b", "a"]}]


def test_the_unified_text_shows_the_old_and_the_new_line() -> None:
    text = write_unified({"cache": {"ttl_s": 1}}, {"cache": {"ttl_s": 2}}, ("version 1", "version 2"))
    assert text.splitlines() == [
        "--- version 1",
        "+++ version 2",
        "@@ -1,2 +1,2 @@",
        " cache:",
        "-  ttl_s: 1",
        "+  ttl_s: 2",
    ]

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.auth.attribution import (
    FIELDS,
    MOST_TAGS,
    NAME_LENGTH,
    VALUE_LENGTH,
    Attribution,
    clean,
    keep_labels,
    read_attribution,
)
from backend.call import Identity

NOBODY = Identity("local")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

NAMES = st.sampled_from(
    [
        b"x-governor-user",
        b"x-governor-feature",
        b"x-governor-tag-",
        b"x-governor-tag-a",
        b"x-litellm-tags",
        b"x-litellm-end-user-id",
        b"helicone-property-",
        b"helicone-property-user",
        b"helicone-session-id",
        b"x-portkey-metadata",
        b"x-session-id",
        b"traceparent",
        b"x-go",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["user", "tags", "feature"]), inner),
    max_leaves=10,
)
OWN = st.dictionaries(st.sampled_from([*FIELDS, "team"]), st.text("ab", min_size=1), max_size=3)


def read(headers: dict[bytes, bytes] | None = None, body: dict[str, Any] | None = None, **own: str) -> Attribution:
    return read_attribution(Identity("t", attribution=own), headers or {}, body or {})


@given(
    headers=st.dictionaries(
        NAMES | st.binary(), st.binary() | JSON.map(lambda value: repr(value).encode(errors="replace"))
    ),
    body=st.fixed_dictionaries({}, optional={"metadata": JSON, "user": JSON, "safety_identifier": JSON}),
    own=OWN,
)
def test_whatever_callers_send_it_never_raises_and_what_it_keeps_is_bounded(
    headers: dict[bytes, bytes], body: dict[str, Any], own: dict[str, str]
) -> None:
    found = read_attribution(Identity("t", attribution=own), headers, body)
    texts = [found.user, found.feature, found.department, found.environment, found.session_id, found.trace_id]
    tags = found.tags or {}
    for text in (*filter(None, texts), *tags.values()):
        assert 0 < len(text) <= VALUE_LENGTH
        assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in text)
        text.encode()
    assert len(tags) <= MOST_TAGS
    assert all(0 < len(name) <= NAME_LENGTH + len("caller_") for name in tags)
    orjson.dumps(tags)


@given(
    headers=st.dictionaries(NAMES, st.binary()),
    body=st.fixed_dictionaries({}, optional={"metadata": JSON, "user": JSON}),
    own=OWN,
)
def test_no_caller_can_change_what_the_key_says(
    headers: dict[bytes, bytes], body: dict[str, Any], own: dict[str, str]
) -> None:
    found = read_attribution(Identity("t", attribution=own), headers, body)
    for name, value in own.items():
        assert (getattr(found, name) if name in FIELDS else (found.tags or {})[name]) == value


def test_a_call_that_says_nothing_counts_for_what_its_key_says() -> None:
    assert read() == Attribution()
    assert read(feature="search", team="blue") == Attribution(feature="search", tags={"team": "blue"})


@pytest.mark.parametrize("name", FIELDS)
def test_a_forged_field_becomes_an_untrusted_label(name: str) -> None:
    forged = f"x-governor-{name}".encode()
    found = read({forged: b"sales"}, {"metadata": {name: "sales"}, "user": "sales"}, **{name: "research"})
    assert getattr(found, name) == "research"
    assert (found.tags or {})[f"caller_{name}"] == "sales"


def test_a_caller_who_agrees_with_the_key_leaves_no_label() -> None:
    assert read({b"x-governor-feature": b"search"}, feature="search").tags is None


def test_a_field_the_key_leaves_open_is_the_callers_to_fill() -> None:
    found = read({b"x-governor-feature": b"chat"}, {"user": "bo"}, department="research")
    assert found == Attribution(user="bo", feature="chat", department="research")


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({b"x-governor-user": b"ana"}, {}, Attribution(user="ana")),
        ({b"x-governor-department": b"r&d"}, {}, Attribution(department="r&d")),
        ({b"x-governor-environment": b"prod"}, {}, Attribution(environment="prod")),
        ({b"x-governor-session-id": b"s1"}, {}, Attribution(session_id="s1")),
        ({b"x-governor-trace-id": b"t1"}, {}, Attribution(trace_id="t1")),
        ({b"x-governor-tag-region": b"eu"}, {}, Attribution(tags={"region": "eu"})),
        ({b"x-litellm-end-user-id": b"ana"}, {}, Attribution(user="ana")),
        ({b"x-litellm-customer-id": b"ana"}, {}, Attribution(user="ana")),
        ({b"x-litellm-tags": b"beta, team:blue,"}, {}, Attribution(tags={"beta": "true", "team": "blue"})),
        ({b"helicone-user-id": b"ana"}, {}, Attribution(user="ana")),
        ({b"helicone-session-id": b"s1"}, {}, Attribution(session_id="s1")),
        ({b"helicone-property-plan": b"pro"}, {}, Attribution(tags={"plan": "pro"})),
        ({b"helicone-property-feature": b"chat"}, {}, Attribution(feature="chat")),
        (
            {b"x-portkey-metadata": b'{"_user": "ana", "plan": "pro"}'},
            {},
            Attribution(user="ana", tags={"plan": "pro"}),
        ),
        ({b"x-portkey-metadata": b"not json"}, {}, Attribution()),
        ({b"x-portkey-metadata": b"[1]"}, {}, Attribution()),
        ({b"x-session-id": b"s1"}, {}, Attribution(session_id="s1")),
        ({b"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01".encode()}, {}, Attribution(trace_id=TRACE)),
        ({b"traceparent": b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"}, {}, Attribution()),
        ({b"traceparent": b"rubbish"}, {}, Attribution()),
        ({}, {"user": "ana"}, Attribution(user="ana")),
        ({}, {"safety_identifier": "ana"}, Attribution(user="ana")),
        ({}, {"metadata": {"user_id": "ana", "session_id": "s1"}}, Attribution(user="ana", session_id="s1")),
        (
            {},
            {"metadata": {"tags": ["beta", 7, "a:b"], "n": 3}},
            Attribution(tags={"beta": "true", "a": "b", "n": "3"}),
        ),
        ({}, {"metadata": {"deep": {"a": 1}, "nothing": None, "yes": True}}, Attribution(tags={"yes": "true"})),
        ({}, {"metadata": "text", "user": ["a"]}, Attribution()),
        ({b"x-stainless-lang": b"python", b"x-request-id": b"1"}, {}, Attribution()),
    ],
)
def test_attribution_is_read_where_people_already_put_it(
    headers: dict[bytes, bytes], body: dict[str, Any], wanted: Attribution
) -> None:
    assert read_attribution(NOBODY, headers, body) == wanted


def test_our_own_header_wins_over_the_body_and_other_headers() -> None:
    headers = {b"helicone-user-id": b"c", b"x-litellm-end-user-id": b"b", b"x-governor-user": b"a"}
    assert read(headers, {"user": "d"}).user == "a"
    assert read({}, {"user": "d", "metadata": {"user": "e"}}).user == "d"


def test_the_keys_tags_survive_a_flood_of_the_callers() -> None:
    flood = {f"x-governor-tag-t{number}".encode(): b"x" for number in range(100)}
    found = read(flood | {b"x-governor-feature": b"forged"}, team="blue", feature="search")
    assert found.tags is not None
    assert (len(found.tags), found.tags["team"], found.tags["caller_feature"]) == (MOST_TAGS, "blue", "forged")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("a\r\nx-injected: 1", "ax-injected: 1"),
        ("\x00\x1b[31m", "[31m"),
        ("\u202egnp.exe", "gnp.exe"),
        ("half \ud800", "half"),
        ("x" * 5000, "x" * VALUE_LENGTH),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (" \t ", None),
        (True, "true"),
        (1.5, "1.5"),
        (10**18, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_value_is_one_bounded_line_of_text_or_nothing(value: object, wanted: str | None) -> None:
    assert clean(value) == wanted


def test_headers_kept_for_later_say_the_same_and_decide_nothing() -> None:
    said = {b"x-governor-user": b"alice", b"x-litellm-tags": b"team:red", b"x-governor-tag-caf\xe9": b"\xff"}
    others = {b"authorization": b"Bearer secret", b"x-governor-deployment": b"dear", b"x-governor-hops": b"1"}
    kept = keep_labels(said | others)
    again = {name.encode("latin-1"): text.encode("latin-1") for name, text in kept.items()}
    assert again == said
    assert read_attribution(NOBODY, again, {}) == read_attribution(NOBODY, said, {})

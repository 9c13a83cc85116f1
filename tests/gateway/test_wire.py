"""OpenAI's request wire: a body becomes a call, or a 400 that names the parameter."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.call import Arrival, Call, Endpoint
from backend.errors import BadRequest, BodyTimeout, GatewayError
from backend.gateway.wire import read_call
from backend.settings.knobs import GatewaySettings
from tests.cache.answers import VALUE

KNOBS = GatewaySettings()
SOUND: dict[Endpoint, dict[str, Any]] = {
    "chat.completions": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    "completions": {"model": "m", "prompt": "x"},
    "embeddings": {"model": "m", "input": "x"},
}


def read(endpoint: Endpoint = "chat.completions", headers: dict[str, str] | None = None, **changes: Any) -> Call:
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    return read_call(Arrival(endpoint, raw, orjson.dumps(SOUND[endpoint] | changes)), KNOBS)


@pytest.mark.parametrize("endpoint", SOUND)
def test_a_sound_body_is_a_call(endpoint: Endpoint) -> None:
    found = read(endpoint)
    assert (found.endpoint, found.model, found.stream, found.wants_usage) == (endpoint, "m", False, False)
    assert found.body == SOUND[endpoint]
    assert (found.cache, found.hops, found.deployment) == ({}, 0, None)


WRONG: list[tuple[Endpoint, str, list[Any]]] = [
    ("chat.completions", "model", [None, "", 5, [], "x" * 257, "a\nb", "a\x00", "\u200e"]),
    ("chat.completions", "messages", [None, [], {}, "x", 5, ["x"], [{}, None]]),
    ("completions", "prompt", [None, "", [], {}, 5, True]),
    ("embeddings", "input", [None, "", [], {}, 5]),
    ("chat.completions", "stream", [1, 0, "true", [], {}]),
    ("embeddings", "stream", [True]),
    ("chat.completions", "stream_options", [1, True, [], "x"]),
    ("chat.completions", "n", [0, -1, 1.0, 1.5, "1", True, [], 10**9, 2**53]),
    ("chat.completions", "max_tokens", [-1, 0.5, "5", False, 10**8]),
    ("chat.completions", "max_completion_tokens", [-1, "x", {}]),
    ("completions", "best_of", [0, True, 2.5]),
    ("chat.completions", "temperature", ["hot", True, [], {}]),
    ("chat.completions", "cache", [True, 5, [], "no-store", {"ttl": -1}, {"ttl": "60"}, {"ttl": True}, {"ttl": []}]),
    ("chat.completions", "cache", [{"s-maxage": -0.1}, {"s-maxage": "60"}, {"s-maxage": False}, {"s-maxage": {}}]),
]


@pytest.mark.parametrize(
    ("endpoint", "param", "value"), [(endpoint, param, value) for endpoint, param, values in WRONG for value in values]
)
def test_what_is_wrong_is_named(endpoint: Endpoint, param: str, value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(endpoint, **{param: value})
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("endpoint", "changes"),
    [
        ("chat.completions", {"stream": None, "stream_options": None, "n": None, "max_tokens": None, "cache": None}),
        ("chat.completions", {"temperature": 0}),
        ("chat.completions", {"temperature": 1e308, "max_tokens": 0, "logprobs": True, "top_logprobs": 0}),
        ("completions", {"logprobs": 5, "prompt": [[1, 2], [3]]}),
        ("completions", {"prompt": ["a", "b"]}),
        ("embeddings", {"input": [1, 2, 3], "stream": False}),
        ("chat.completions", {"model": "é/ü:1@x #?"}),
    ],
)
def test_what_is_unusual_but_sound_is_taken(endpoint: Endpoint, changes: dict[str, Any]) -> None:
    read(endpoint, **changes)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False), ({"include_usage": 1}, False)],
)
def test_only_true_asks_for_usage(options: dict[str, Any], wanted: bool) -> None:
    assert read(stream=True, stream_options=options).wants_usage is wanted


def test_cache_directives_are_read_and_not_sent_on() -> None:
    found = read(headers={"cache-control": "no-cache, max-age=60"}, cache={"ttl": 5, "namespace": "a"})
    assert found.cache == {"ttl": 5, "namespace": "a", "no-cache": True, "s-maxage": 60}
    assert "cache" not in found.body


@pytest.mark.parametrize(
    ("control", "directives"),
    [
        ("no-store", {"no-store": True}),
        (" No-Cache ,NO-STORE", {"no-cache": True, "no-store": True}),
        ("s-maxage=5", {"s-maxage": 5}),
        ("max-age=-5", {}),
        ("max-age=1e3", {}),
        ("max-age=999999999999999999", {}),
        ("private, immutable", {}),
        (",,=,=5", {}),
    ],
)
def test_cache_control_is_read_with_forbearance(control: str, directives: dict[str, Any]) -> None:
    assert read(headers={"cache-control": control}).cache == directives


def test_helicones_switch_turns_the_cache_off() -> None:
    assert read(headers={"helicone-cache-enabled": "False"}).cache == {"no-cache": True, "no-store": True}
    assert read(headers={"helicone-cache-enabled": "true"}).cache == {}


@pytest.mark.parametrize(("raw", "hops"), [(None, 0), ("0", 0), ("1", 1)])
def test_hops_are_counted(raw: str | None, hops: int) -> None:
    assert read(headers={"x-governor-hops": raw} if raw else {}).hops == hops


@pytest.mark.parametrize("raw", ["2", "3", "99999", "-1", "x", "1.5", "\u00b2", " 1"])
def test_a_request_that_has_passed_too_often_is_a_loop(raw: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(headers={"x-governor-hops": raw})
    assert (caught.value.status, caught.value.code, caught.value.retry) == (508, "loop_detected", False)


@pytest.mark.parametrize("raw", ["0", "-5", "nan", "inf", "soon", "1e9", "3600001"])
def test_a_budget_of_time_must_make_sense(raw: str) -> None:
    with pytest.raises(BadRequest):
        read(headers={"x-governor-latency-budget-ms": raw})


def test_headers_that_name_something_are_read() -> None:
    headers = {"x-governor-latency-budget-ms": "1500.5", "x-governor-deployment": "a", "idempotency-key": "k 1"}
    found = read(headers=headers)
    assert (found.latency_budget_ms, found.deployment, found.idempotency_key) == (1500.5, "a", "k 1")
    for bad in ("x" * 257, "a\tb", "\u00a0"):
        with pytest.raises(BadRequest):
            read(headers={"idempotency-key": bad})


def test_why_a_body_could_not_be_read_is_raised_first() -> None:
    with pytest.raises(BodyTimeout):
        read_call(Arrival("chat.completions", {}, b"", BodyTimeout("late")), KNOBS)


@given(st.dictionaries(st.sampled_from(["model", "messages", "stream", "n", "cache", "stop", "x"]), VALUE, max_size=4))
def test_no_body_makes_the_reader_crash(changes: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(read(**changes).model, str)

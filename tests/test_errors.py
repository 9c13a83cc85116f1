"""Every error a caller can see: one shape, a stable code, an honest word about trying again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson
import pytest

from backend import errors as module
from backend.errors import (
    GatewayError,
    InvalidSettings,
    RateLimited,
    UpstreamError,
    UpstreamRefused,
    as_gateway_error,
)


def kinds(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """The error and all its kinds that the module declares."""
    if kind.__module__ == module.__name__:
        yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def make(kind: type[GatewayError]) -> GatewayError:
    if kind is InvalidSettings:
        return InvalidSettings([("cache.ttl_s", "too small")])
    if issubclass(kind, UpstreamRefused):
        return kind("no", status=400, body=None)
    return kind("no")


EVERY = sorted(set(kinds()), key=lambda kind: kind.__name__)
WITHOUT_HOPE = {400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 431, 508}


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_has_all_four_fields(kind: type[GatewayError]) -> None:
    error = make(kind)
    body = orjson.loads(error.body())
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert body["error"]["type"]
    assert body["error"]["code"] == error.code
    assert orjson.loads(error.body("call-1"))["error"]["call_id"] == "call-1"
    assert 400 <= error.status <= 599


@pytest.mark.parametrize("kind", EVERY)
def test_a_client_is_told_to_try_again_only_where_that_can_help(kind: type[GatewayError]) -> None:
    error = make(kind)
    headers = dict(error.headers())
    assert headers[b"x-should-retry"] == (b"false" if error.status in WITHOUT_HOPE else b"true")


@pytest.mark.parametrize(
    ("after_ms", "headers"),
    [
        (None, {}),
        (0, {b"retry-after-ms": b"0", b"retry-after": b"0"}),
        (1, {b"retry-after-ms": b"1", b"retry-after": b"1"}),
        (1000, {b"retry-after-ms": b"1000", b"retry-after": b"1"}),
        (1001, {b"retry-after-ms": b"1001", b"retry-after": b"2"}),
    ],
)
def test_the_time_to_wait_is_told_in_both_forms(after_ms: int | None, headers: dict[bytes, bytes]) -> None:
    told = dict(RateLimited("busy", retry_after_ms=after_ms).headers())
    assert told == {b"x-should-retry": b"true"} | headers


@pytest.mark.parametrize(("status", "retry", "elsewhere"), [
    (400, False, False), (401, False, True), (404, False, True), (408, True, True), (409, True, True),
    (413, False, False),
    (422, False, False), (429, True, True), (500, True, True), (503, True, True), (529, True, True),
])  # fmt: skip
def test_an_upstreams_status_decides_who_may_try_again(status: int, retry: bool, elsewhere: bool) -> None:
    error = UpstreamRefused("no", status=status, body=b'{"error":{}}')
    assert (error.retry, error.retriable) == (retry, elsewhere)
    assert error.body() == b'{"error":{}}'
    assert orjson.loads(error.body("call-1"))["error"]["call_id"] == "call-1"


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    lines = re.findall(r"^([│ ├└─]*)(\w+) {2,}(.*)$", str(module.__doc__), re.MULTILINE)
    told = {name: text for _, name, text in lines}
    assert told.keys() == {kind.__name__ for kind in EVERY}
    parents = {name: kind.__mro__[1].__name__ for kind in EVERY for name in [kind.__name__]}
    above: dict[int, str] = {}
    for indent, name, text in lines:
        depth = len(indent) // 4
        above[depth] = name
        assert depth == 0 or parents[name] == above[depth - 1]
        found = re.fullmatch(r"(\d{3}) (\w+)", text)
        if found:
            kind = getattr(module, name)
            assert (str(kind.status), kind.code) == found.groups()


def test_codes_are_not_shared() -> None:
    codes = [kind.code for kind in EVERY if kind is not UpstreamRefused]
    assert sorted(codes) == sorted(set(codes))


def test_a_fault_of_our_own_says_nothing_about_itself() -> None:
    error = as_gateway_error(ZeroDivisionError("at /srv/secret.py with sk-abc"))
    assert (error.status, error.code) == (500, "internal_error")
    assert b"secret" not in error.body()
    known = UpstreamError("busy")
    assert as_gateway_error(known) is known

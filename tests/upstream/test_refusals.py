"""A deployment's refusal in the caller's words: its own where they help, never about our credential."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import UpstreamError
from backend.upstream.refusals import in_band_error, read_retry_after, refusal

SHAPED = b'{"error":{"message":"too hot","type":"t","param":"temperature","code":"c","extra":1}}'


def told(status: int, body: bytes = SHAPED, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error: dict[str, Any] = orjson.loads(refusal("local", status, named, body).body())["error"]
    return error


@pytest.mark.parametrize("status", [400, 402, 404, 408, 409, 413, 418, 422, 429, 451, 500, 502, 503, 529, 599])
def test_words_in_openai_shape_are_passed_on(status: int) -> None:
    error = refusal("local", status, {}, SHAPED)
    assert (error.status, error.code) == (status, f"upstream_{status}")
    assert orjson.loads(error.body()) == orjson.loads(SHAPED)


@pytest.mark.parametrize("status", [401, 403, 407])
def test_what_is_said_about_our_credential_stays_here(status: int) -> None:
    error = refusal("local", status, {}, b'{"error":{"message":"Incorrect API key sk-abc"}}')
    assert (error.status, error.code) == (502, "upstream_auth")
    assert b"sk-abc" not in error.body()


@pytest.mark.parametrize("status", [100, 204, 301, 302, 304, 600, 999])
def test_a_status_that_is_no_error_is_a_bad_gateway(status: int) -> None:
    assert refusal("local", status, {"location": "http://elsewhere/"}, b"").status == 502


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"5",
        b"[]",
        b"{}",
        b'{"error":"text"}',
        b'{"error":{}}',
        b'{"error":{"message":5}}',
        b"\xff",
    ],
)
def test_words_in_any_other_shape_are_replaced_by_ours(body: bytes) -> None:
    assert told(500, body) == {
        "message": "Deployment local answered 500.", "type": "upstream_error", "param": None, "code": "upstream_500"
    }  # fmt: skip


def test_all_four_fields_are_there_and_long_words_are_cut() -> None:
    error = told(400, orjson.dumps({"error": {"message": "x" * 10_000}}))
    assert error == {"message": "x" * 2000, "type": None, "param": None, "code": None}


@pytest.mark.parametrize(
    ("headers", "milliseconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3000),
        ({"retry-after": "0.5"}, 500),
        ({"retry-after-ms": "250", "retry-after": "9"}, 250),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9000),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_when_to_try_again_is_read_in_every_form(headers: dict[str, str], milliseconds: int | None) -> None:
    assert read_retry_after(headers) == milliseconds


@pytest.mark.parametrize("error", ["busy", {"message": "busy"}, {"message": None}, {}, ["busy"], 5, True])
def test_an_error_inside_an_answer_is_an_upstream_error(error: Any) -> None:
    found = in_band_error("local", error)
    assert isinstance(found, UpstreamError)
    assert found.message.startswith("Deployment local failed: ")


@given(st.integers(100, 999), st.binary(max_size=60), st.dictionaries(st.sampled_from(["retry-after"]), st.text()))
def test_no_refusal_can_be_worded_so_that_reading_it_fails(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = refusal("local", status, headers, body)
    assert 400 <= error.status <= 599
    assert orjson.loads(error.body())["error"].keys() >= {"message", "type", "param", "code"}

"""Errors, as every client sees them: its own class for each, all four fields, and whether to try again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.place import Place, chat, say
from tests.contract.speakers import Program, Speaker

BAD = {"model": "fake/ok", "messages": say()}
# what is asked: class, status, type, param, code, whether to try again
CASES: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({**BAD, "n": 0}, ("BadRequestError", 400, "invalid_request_error", "n", "invalid_request", "false")),
    (
        {**BAD, "messages": []},
        ("BadRequestError", 400, "invalid_request_error", "messages", "invalid_request", "false"),
    ),
    ({**BAD, "model": ""}, ("BadRequestError", 400, "invalid_request_error", "model", "invalid_request", "false")),
    (chat("fake/400"), ("BadRequestError", 400, "invalid_request_error", None, "400", "false")),
    (chat("fake/status:403"), ("InternalServerError", 502, "upstream_error", None, "upstream_auth", None)),
    (chat("fake/401"), ("InternalServerError", 502, "upstream_error", None, "upstream_auth", None)),
    (chat("fake/status:404"), ("NotFoundError", 404, "invalid_request_error", None, "404", "false")),
    (chat("fake/status:409"), ("ConflictError", 409, "invalid_request_error", None, "409", "true")),
    (chat("fake/status:422"), ("UnprocessableEntityError", 422, "invalid_request_error", None, "422", "false")),
    (chat("fake/split-error"), ("UnprocessableEntityError", 422, "invalid_request_error", None, "422", "false")),
    (chat("fake/429-with-retry-after:9"), ("RateLimitError", 429, "invalid_request_error", None, "429", "true")),
    (chat("fake/status:500"), ("InternalServerError", 500, "server_error", None, "500", "true")),
    (chat("fake/status:503"), ("InternalServerError", 503, "server_error", None, "503", "true")),
    (chat("fake/status:999"), ("InternalServerError", 502, "upstream_error", None, None, "true")),
    (chat("unreachable"), ("InternalServerError", 502, "upstream_error", None, "upstream_unreachable", "true")),
    (
        chat("fake/accept-then-reset"),
        ("InternalServerError", 502, "upstream_error", None, "upstream_interrupted", "true"),
    ),
    (
        chat("fake/garbage-json"),
        ("InternalServerError", 502, "upstream_error", None, "upstream_invalid_response", "true"),
    ),
    (chat("fake/200-json-error"), ("InternalServerError", 502, "upstream_error", None, "upstream_error", "true")),
]


@pytest.mark.parametrize(("asked", "told"), CASES, ids=[str(each[0].get("model")) + str(each[1][3]) for each in CASES])
@pytest.mark.parametrize("op", ["create", "stream"])
def test_every_error_has_its_class_and_all_four_fields(
    speaker: Speaker, op: str, asked: dict[str, Any], told: tuple[Any, ...]
) -> None:
    kind, status, error_type, param, code, again = told
    outcome = speaker.ask(op, params=asked)
    failure = outcome.failure
    assert (failure["class"], failure["status"], failure["param"]) == (kind, status, param)
    assert failure["type"] == error_type
    assert code is None or failure["code"] == code
    assert failure["body"].keys() >= {"message", "type", "param", "code"}
    assert again is None or failure["headers"]["x-should-retry"] == again


def test_every_error_is_in_the_books(speaker: Speaker, place: Place) -> None:
    told = {speaker.ask("stream", params=asked).call_id: each[1] for asked, each in CASES}
    rows = place.rows(*told)
    assert {row["id"]: row["http_status"] for row in rows} == told
    assert {row["status"] for row in rows} == {"failed", "refused"}


def test_words_of_the_upstream_are_passed_on(speaker: Speaker) -> None:
    for model in ("fake/split-error", "fake/400"):
        failure = speaker.ask("create", params=chat(model)).failure
        assert "The words of the upstream itself" in failure["message"] or "Invalid value" in failure["message"]


def test_no_words_about_our_own_credential_are_passed_on(speaker: Speaker) -> None:
    for model in ("fake/401", "fake/status:403", "fake/status:407"):
        failure = speaker.ask("create", params=chat(model)).failure
        assert failure["status"] == 502
        assert "Incorrect API key" not in str(failure)


@pytest.mark.parametrize(
    ("model", "after_ms", "after_s"),
    [("429-with-retry-after:9", "9000", "9"), ("429-with-retry-after-ms:6200", "6200", "7")],
)
def test_when_to_try_again_is_told_in_both_forms(speaker: Speaker, model: str, after_ms: str, after_s: str) -> None:
    headers = speaker.ask("create", params=chat(f"fake/{model}")).failure["headers"]
    assert (headers["retry-after-ms"], headers["retry-after"]) == (after_ms, after_s)


def test_a_client_retries_only_what_can_succeed(speaker: Speaker, place: Place) -> None:
    if not isinstance(speaker, Program):
        pytest.skip("curl does not retry by itself")
    for model, placed in (("fake/400", 1), ("fake/status:422", 1), ("fake/accept-then-reset", 2)):
        asked = chat(model, user=say()[0]["content"])
        assert speaker.ask("create", params=asked, retries=1).failure
        rows = place.rows(*[asked["user"]] * placed, column='"user"')
        assert len(rows) == placed


def test_a_client_gets_its_answer_through_its_own_retries(speaker: Speaker) -> None:
    if not isinstance(speaker, Program):
        pytest.skip("curl does not retry by itself")
    asked = chat("fake/500-then-ok:4")
    asked["messages"][0]["content"] += f" call-marker:{asked['messages'][0]['content'][-36:]}"
    assert speaker.ask("create", params=asked, retries=2).text


def test_an_unknown_route_and_a_wrong_method_are_json_errors(place: Place) -> None:
    import httpx2

    for method, path, status in (("POST", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("GET", "/", 404)):
        reply = httpx2.request(method, f"http://127.0.0.1:{place.port}{path}")
        assert reply.status_code == status
        assert reply.json()["error"].keys() == {"message", "type", "param", "code"}
        assert reply.headers["x-should-retry"] == "false"

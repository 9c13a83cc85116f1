from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from pages.components.gate import Access, Gate
from pages.components.session import COOKIE, Signer, Throttle

PASSWORD = "correct horse"
SIGNER = Signer.derive(b"secret", PASSWORD)


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    passed: bool = False
    closed: bool = False


def ask(access: Access, path: str = "/", **how: Any) -> Reply:
    """One request through the gate; ``passed`` says that the console behind it was reached."""
    reply, kind = Reply(), how.get("kind", "http")
    headers = {"host": "127.0.0.1:8501", "accept": "text/html", **how.get("headers", {})}
    raw_path, _, query = path.partition("?")
    scope = {
        "type": kind,
        "method": how.get("method", "GET"),
        "path": raw_path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": how.get("client", ("127.0.0.1", 5000)),
        "scheme": how.get("scheme", "http"),
    }

    async def console(_scope: Any, _receive: Any, send: Any) -> None:
        reply.passed = True
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"console"})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": f"{kind}.request", "body": how.get("body", b"")}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            reply.body += message["body"]
        else:
            reply.closed = message["type"] == "websocket.close"

    asyncio.run(Gate(console, access)(scope, receive, send))
    return reply


def guarded() -> Access:
    return Access(PASSWORD, SIGNER)


def form(password: str, target: str = "/", **how: Any) -> dict[str, Any]:
    return {"method": "POST", "body": urlencode({"password": password, "name": "Ana", "next": target}).encode(), **how}


def signed_in() -> dict[str, dict[str, str]]:
    return {"headers": {"cookie": f"other=1; {COOKIE}={SIGNER.sign('Ana')}"}}


def test_without_a_login_only_this_machine_gets_in() -> None:
    assert ask(Access()).passed
    assert ask(Access(), client=("10.0.0.7", 1)).status == 403
    assert ask(Access(), headers={"host": "[::1]:8501"}, client=("::1", 1)).passed


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8501", "", "10.0.0.7:8501"])
def test_without_a_login_another_name_for_this_machine_is_refused(host: str) -> None:
    assert ask(Access(), headers={"host": host}).status == 403
    assert not ask(Access(), kind="websocket", headers={"host": host}).passed


def test_a_stranger_is_sent_to_the_login_and_back_to_where_they_were_going() -> None:
    reply = ask(guarded(), "/calls?call=7&range=7d")
    assert (reply.status, reply.passed) == (303, False)
    assert reply.headers["location"] == "/login?next=%2Fcalls%3Fcall%3D7%26range%3D7d"
    assert 'value="/calls?call=7&amp;range=7d"' in ask(guarded(), reply.headers["location"]).body.decode()
    back = ask(guarded(), "/login", **form(PASSWORD, "/calls?call=7&range=7d"))
    assert (back.status, back.headers["location"]) == (303, "/calls?call=7&range=7d")


@pytest.mark.parametrize("path", ["/_stcore/stream", "/_stcore/metrics", "/media/x.csv", "/static/js/index.js"])
def test_a_stranger_gets_nothing_but_the_login_and_the_health(path: str) -> None:
    reply = ask(guarded(), path, headers={"accept": "*/*"})
    assert (reply.status, reply.passed) == (401, False)
    assert ask(guarded(), "/_stcore/health", headers={"accept": "*/*"}).passed


def test_a_socket_is_closed_to_strangers_and_open_to_people() -> None:
    assert ask(guarded(), "/_stcore/stream", kind="websocket").closed
    assert ask(guarded(), "/_stcore/stream", kind="websocket", **signed_in()).passed


def test_the_password_opens_and_the_cookie_remembers_the_name() -> None:
    reply = ask(guarded(), "/login", **form(PASSWORD))
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    assert guarded().reader(cookie.partition(";")[0]) == "Ana"
    assert "Secure" in ask(guarded(), "/login", **form(PASSWORD, scheme="https")).headers["set-cookie"]
    assert ask(guarded(), "/keys", **signed_in()).passed


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), PASSWORD + " "])
def test_another_password_does_not(password: str) -> None:
    reply = ask(guarded(), "/login", **form(password))
    assert (reply.status, "set-cookie" in reply.headers) == (401, False)


def test_after_five_wrong_passwords_the_right_one_has_to_wait() -> None:
    access = Access(PASSWORD, SIGNER, throttle=Throttle())
    for _ in range(5):
        assert ask(access, "/login", **form("guess")).status == 401
    reply = ask(access, "/login", **form(PASSWORD))
    assert (reply.status, "set-cookie" in reply.headers) == (429, False)
    assert int(reply.headers["retry-after"]) > 0
    assert ask(access, "/login", **form(PASSWORD, client=("10.0.0.8", 1))).status == 303


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nset-cookie: b=1"],
)
def test_signing_in_never_leads_elsewhere(target: str) -> None:
    assert ask(guarded(), "/login", **form(PASSWORD, target)).headers["location"] == "/"


def test_a_form_from_another_site_is_refused() -> None:
    reply = ask(guarded(), "/login", **form(PASSWORD, headers={"origin": "https://evil.example"}))
    assert reply.status == 403
    assert ask(guarded(), "/login", **form(PASSWORD, headers={"origin": "http://127.0.0.1:8501"})).status == 303


def test_a_body_too_long_for_a_password_is_not_read() -> None:
    assert ask(guarded(), "/login", method="POST", body=b"password=" + b"x" * 10_000).status == 401


def test_signing_out_forgets_the_cookie() -> None:
    reply = ask(guarded(), "/logout", **signed_in())
    assert reply.headers["location"] == "/login"
    assert "Max-Age=0" in reply.headers["set-cookie"]


@pytest.mark.parametrize("path", ["/_stcore/upload_file/a/b", "/_stcore/agent/interact"])
def test_uploads_and_remote_control_are_off_for_everybody(path: str) -> None:
    assert ask(Access(), path, method="PUT").status == 404
    assert ask(guarded(), path, method="PUT", **signed_in()).status == 404


def test_every_answer_keeps_the_page_to_itself() -> None:
    for reply in (ask(Access()), ask(guarded()), ask(guarded(), "/login")):
        assert "default-src 'self'" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_what_somebody_typed_stands_in_the_login_page_as_text() -> None:
    body = ask(guarded(), '/login?next=/"><script>alert(1)</script>').body.decode()
    assert "<script" not in body


def test_openid_connect_signs_people_in_inside_the_page() -> None:
    assert ask(Access(oidc=True), client=("10.0.0.7", 1), headers={"host": "console.example"}).passed


def test_the_first_page_is_found_by_its_name_too() -> None:
    reply = ask(Access(), "/overview?range=7d")
    assert (reply.status, reply.headers["location"]) == (303, "/?range=7d")

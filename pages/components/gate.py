"""The door in front of the console: sign-in, loopback without one, and headers that keep the page to itself.

It stands before Streamlit as ASGI middleware, so that neither a page, a socket nor an internal endpoint answers
a stranger.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.components.headers import HEADERS
from pages.components.login import write_login
from pages.components.session import COOKIE, LIFETIME_S, Signer, Throttle

FIRST_PAGE = "/overview"
"""The first page has the bare address; Streamlit would say of its name that there is no such page."""
OPEN_PATHS = frozenset({"/_stcore/health"})
CLOSED_PATHS = ("/_stcore/upload_file", "/_stcore/agent")
BODY_LIMIT = 4096
LOCKED = (
    "This console has no login, so it answers on this machine only (http://127.0.0.1). "
    "To reach it from elsewhere set GOVERNOR_CONSOLE_PASSWORD, or configure [auth] in .streamlit/secrets.toml."
)


@dataclass(frozen=True, slots=True)
class Access:
    """How people get in: with a password, through OpenID Connect, or from this machine only."""

    password: str | None = None
    signer: Signer | None = None
    oidc: bool = False
    throttle: Throttle = field(default_factory=Throttle)

    @property
    def local_only(self) -> bool:
        """Whether nothing but the loopback address protects the console."""
        return self.password is None and not self.oidc

    def reader(self, cookies: str) -> str | None:
        """Who a Cookie header says is signed in; None for nobody."""
        try:
            cookie = SimpleCookie(cookies).get(COOKIE)
        except ValueError:
            return None
        return self.signer.read(cookie.value) if self.signer and cookie else None


class Gate:
    """ASGI middleware that lets a request through or answers it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer strangers, pass on the others."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, receive, _with_headers(send))

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._admits(scope):
            await self.app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.close", "code": 4401})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(CLOSED_PATHS):
            await _answer(send, 404, "Not found.")
        elif self.access.password is not None and path in {"/login", "/logout"}:
            await self._sign(scope, receive, send)
        elif path == FIRST_PAGE and scope["method"] == "GET":
            await _redirect(send, _here({**scope, "path": "/"}))
        elif path in OPEN_PATHS or self._admits(scope):
            await self.app(scope, receive, send)
        elif self.access.local_only:
            await _answer(send, 403, LOCKED)
        elif scope["method"] in {"GET", "HEAD"} and b"text/html" in _header(scope, b"accept"):
            await _redirect(send, f"/login?next={quote(_here(scope), safe='')}")
        else:
            await _answer(send, 401, "Sign in first.")

    def _admits(self, scope: Scope) -> bool:
        if self.access.local_only:
            return _is_loopback(scope)
        if self.access.password is None:
            return True  # OpenID Connect signs people in inside the page
        return self.access.reader(_header(scope, b"cookie").decode("latin-1")) is not None

    async def _sign(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/logout":
            await _redirect(send, "/login", f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
        elif scope["method"] != "POST":
            await _page(send, 200, write_login(_first(scope["query_string"].decode("latin-1"), "next")))
        elif not _same_origin(scope):
            await _answer(send, 403, "This form was sent from another site.")
        else:
            await self._try_password(scope, (await _read(receive)).decode("utf-8", "replace"), send)

    async def _try_password(self, scope: Scope, form: str, send: Send) -> None:
        client, target = _client(scope), _safe_target(_first(form, "next"))
        wait_s = self.access.throttle.wait_s(client)
        if wait_s:
            error = f"Too many attempts. Try again in {wait_s} seconds."
            await _page(send, 429, write_login(target, error), (b"retry-after", str(wait_s).encode()))
        elif not self._matches(_first(form, "password")):
            self.access.throttle.count(client)
            await _page(send, 401, write_login(target, "That is not the password."))
        else:
            await _redirect(send, target, self._cookie(scope, _first(form, "name").strip() or "console"))

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.access.password or "").encode()) and bool(given)

    def _cookie(self, scope: Scope, name: str) -> str:
        value = self.access.signer.sign(name) if self.access.signer else ""
        secure = "https" in {scope.get("scheme"), _header(scope, b"x-forwarded-proto").decode("latin-1")}
        return f"{COOKIE}={value}; Path=/; Max-Age={LIFETIME_S}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return wrapped


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def _here(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])


def _client(scope: Scope) -> str:
    return str((scope.get("client") or ("unknown",))[0])


def _is_loopback(scope: Scope) -> bool:
    """Both ends must be local: the address that connects, and the name it asked for (no rebinding by DNS)."""
    host = _header(scope, b"host").decode("latin-1")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return _is_local_name(name.strip("[]")) and _is_local_name(_client(scope))


def _is_local_name(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same_origin(scope: Scope) -> bool:
    origin = _header(scope, b"origin")
    return not origin or origin.partition(b"://")[2] == _header(scope, b"host")


def _first(form: str, name: str) -> str:
    return parse_qs(form, keep_blank_values=True).get(name, [""])[0]


def _safe_target(target: str) -> str:
    """A path of this console; anything that could lead elsewhere becomes the first page."""
    safe = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return quote(target, safe="/?&=%:,;+~@!$'()*.-_") if safe else "/"


async def _read(receive: Receive) -> bytes:
    body: bytes = b""
    while len(body) <= BODY_LIMIT:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body
    return b""


async def _answer(send: Send, status: int, text: str) -> None:
    await _send(send, status, text.encode(), [(b"content-type", b"text/plain; charset=utf-8")])


async def _page(send: Send, status: int, html: str, *extra: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"), *extra]
    await _send(send, status, html.encode(), headers)


async def _redirect(send: Send, target: str, cookie: str | None = None) -> None:
    cookies = [(b"set-cookie", cookie.encode())] if cookie else []
    await _send(send, 303, b"", [(b"location", target.encode()), (b"cache-control", b"no-store"), *cookies])


async def _send(send: Send, status: int, body: bytes, headers: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

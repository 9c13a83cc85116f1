from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from backend import actions
from backend.auth.keys import KeyDraft, create_key, list_keys
from backend.auth.ring import LiveKeys, console_credential
from backend.cache.contents import SQLiteContents
from backend.cache.layers import LazySemantic, SecondLayer
from backend.errors import (
    BadRequest,
    BodyTooLarge,
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    GatewayError,
    InvalidSettings,
    MethodNotAllowed,
    NotFound,
    StaleSettings,
    Unauthenticated,
)
from backend.gateway.control import MOST_BYTES, ROUTES, Control
from backend.gateway.control_cache import CacheControl
from backend.gateway.control_request import ControlReply, ControlRequest
from backend.settings import store
from backend.settings.document import dump
from backend.settings.knobs import Settings
from backend.settings.live import LiveSettings
from backend.settings.signature import Signature
from db.engine import Engine, writing
from db.settings import SettingsRow, insert_version

SECRET = b"installation secret"
ADMIN_KEY = "correct horse battery"
ADMIN = {b"authorization": f"Bearer {ADMIN_KEY}".encode()}
ANA = Signature("ana", "a try")


@pytest.fixture
def control(sqlite: Engine, tmp_path: Path) -> Control:
    live, keys = LiveSettings(sqlite), LiveKeys(sqlite, SECRET)
    live.on_change("keys", keys.reload)
    entries = CacheControl(SQLiteContents(tmp_path / "cache.db"), LazySemantic(never), dict)
    return Control(sqlite, SECRET, ADMIN_KEY, keys, live, entries)


def never() -> SecondLayer:
    raise AssertionError("nobody switched the semantic cache on")


async def ask(control: Control, line: str, body: Any = None, headers: dict[bytes, bytes] | None = None) -> ControlReply:
    method, path = line.split()
    raw = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    return await control.answer(ControlRequest(method, path, ADMIN if headers is None else headers, raw))


def bearing(control: Control, *scopes: str) -> dict[bytes, bytes]:
    new = create_key(control.engine, SECRET, KeyDraft("k", scopes), ANA)
    control.keys.reload()
    return {b"x-api-key": new.credential.encode()}


async def test_settings_are_read_changed_and_read_again(control: Control) -> None:
    before = await ask(control, "GET /control/settings")
    assert (before.status, before.body["version"], before.body["settings"]["cache"]["ttl_s"]) == (200, 0, 3600)
    change = {"settings": {"cache": {"ttl_s": 5}}, "based_on": 0, "reason": "a try", "actor": "ana"}
    saved = await ask(control, "PUT /control/settings", change)
    assert (saved.status, saved.body["version"], saved.body["settings"]["cache"]["ttl_s"]) == (200, 1, 5)
    assert (await ask(control, "GET /control/settings")).body == saved.body
    assert control.live.current.settings.cache.ttl_s == 5
    orjson.dumps(saved.body)


async def test_what_was_read_can_be_sent_back_whole(control: Control) -> None:
    document = (await ask(control, "GET /control/settings")).body["settings"]
    document["gateway"]["max_hops"] = 7
    saved = await ask(control, "PUT /control/settings", {"settings": document, "based_on": 0, "reason": "why"})
    assert saved.body["settings"] == document


async def test_the_credential_stands_in_the_history_whatever_name_is_given(control: Control) -> None:
    headers = bearing(control, "admin")
    key_id = list_keys(control.engine)[0].id
    console = {b"authorization": b"Bearer " + console_credential(SECRET).encode()}
    for ttl_s, actor, sent in ((5, "ana", headers), (6, None, headers), (7, "bo", ADMIN), (8, "cy", console)):
        body = {"settings": {"cache": {"ttl_s": ttl_s}}, "reason": "why", "actor": actor}
        await ask(control, "PUT /control/settings", body, sent)
    actors = [line.actor for line in store.history(control.engine)]
    assert actors == ["cy (console)", "bo (admin key)", f"gov-{key_id}", f"ana (gov-{key_id})"]


async def test_a_stale_change_is_refused_with_409(control: Control) -> None:
    body = {"settings": {"cache": {"ttl_s": 5}}, "based_on": 0, "reason": "why"}
    await ask(control, "PUT /control/settings", body)
    with pytest.raises(StaleSettings, match="admin key saved version 1") as caught:
        await ask(control, "PUT /control/settings", body | {"settings": {"cache": {"ttl_s": 6}}})
    assert caught.value.status == 409


async def test_settings_are_rolled_back(control: Control) -> None:
    await ask(control, "PUT /control/settings", {"settings": {"cache": {"ttl_s": 5}}, "reason": "why"})
    back = await ask(control, "POST /control/settings/rollback", {"version": 0, "reason": "worse"})
    assert (back.body["version"], back.body["settings"]["cache"]["ttl_s"]) == (2, 3600)
    assert control.live.current.version == 2


async def test_a_key_is_made_shown_once_listed_and_revoked(control: Control) -> None:
    asked = {"name": "search", "models": ["gpt-4o"], "attribution": {"feature": "search"}, "reason": "new service"}
    made = await ask(control, "POST /control/keys", asked)
    assert made.status == 201
    headers = {b"authorization": f"Bearer {made.body['key']}".encode()}
    assert control.keys.identify(headers).models == ("gpt-4o",)
    listed = await ask(control, "GET /control/keys")
    assert (listed.body["keys"][0]["name"], listed.body["keys"][0]["state"]) == ("search", "valid")
    assert made.body["key"].encode() not in orjson.dumps(listed.body)
    assert b"hash" not in orjson.dumps(listed.body)
    revoked = await ask(control, f"DELETE /control/keys/{made.body['id']}", {"reason": "leaked"})
    assert revoked.status == 200
    with pytest.raises(Unauthenticated):
        control.keys.identify(headers)


BODIES: dict[tuple[str, str], Any] = {
    ("PUT", "/control/settings"): {"settings": {}, "reason": "why"},
    ("POST", "/control/settings/rollback"): {"version": 0, "reason": "why"},
    ("POST", "/control/keys"): {"name": "k", "reason": "why"},
    ("DELETE", "/control/keys/abc"): {"reason": "why"},
    ("POST", "/control/cache/lookup"): {"model": "m", "question": "why?", "tenant": "t"},
    ("POST", "/control/cache/purge"): {"all": True},
}
LINES = [(method, pattern.pattern.replace("[A-Za-z0-9]{1,36}", "abc"), scope) for method, pattern, scope, _ in ROUTES]


@pytest.mark.parametrize(("method", "path", "needed"), LINES)
@pytest.mark.parametrize("scopes", [("call",), ("read",), ("admin",), ("call", "read"), ("call", "admin")])
async def test_each_route_admits_exactly_the_scope_it_needs(
    control: Control, method: str, path: str, needed: str, scopes: tuple[str, ...]
) -> None:
    headers, body = bearing(control, *scopes), BODIES.get((method, path))
    try:
        await ask(control, f"{method} {path}", body, headers)
        admitted = True
    except NotFound:  # the key to be revoked: past the gate, but not there
        admitted = path == "/control/keys/abc"
    except Forbidden:
        admitted = False
    assert admitted == (needed in scopes or "admin" in scopes)


@pytest.mark.parametrize(("method", "path"), [line[:2] for line in LINES])
@pytest.mark.parametrize("headers", [{}, {b"authorization": b"Bearer junk"}, {b"x-api-key": b""}, {b"origin": b"null"}])
@pytest.mark.parametrize("has_keys", [False, True])
async def test_no_route_answers_without_a_valid_credential(
    control: Control, method: str, path: str, headers: dict[bytes, bytes], has_keys: bool
) -> None:
    if has_keys:
        bearing(control, "admin")
    with pytest.raises(Unauthenticated):
        await ask(control, f"{method} {path}", BODIES.get((method, path)), headers)
    assert store.current(control.engine).version == 0


async def test_without_an_admin_key_nobody_controls_an_open_gateway(control: Control) -> None:
    closed = Control(control.engine, SECRET, None, control.keys, control.live)
    for headers in (ADMIN, {}, {b"authorization": b"Bearer "}):
        with pytest.raises(Unauthenticated):
            await ask(closed, "GET /control/settings", headers=headers)


@pytest.mark.parametrize(
    ("line", "body", "error", "complaint"),
    [
        ("PUT /control/settings", b"{", BadRequest, "not JSON"),
        ("PUT /control/settings", b"", BadRequest, "reason: Field required"),
        ("PUT /control/settings", [], BadRequest, "valid dictionary"),
        ("PUT /control/settings", {"settings": {}}, BadRequest, "reason: Field required"),
        ("PUT /control/settings", {"settings": {}, "reason": " "}, BadRequest, "needs a reason"),
        ("PUT /control/settings", {"settings": [], "reason": "why"}, BadRequest, "settings: "),
        ("PUT /control/settings", {"settings": {}, "reason": "why", "force": True}, BadRequest, "force: unknown name"),
        (
            "PUT /control/settings",
            {"settings": {"cash": {}}, "reason": "why"},
            InvalidSettings,
            "cash: no such section",
        ),
        (
            "PUT /control/settings",
            {"settings": {"cache": {"ttl_s": 0}, "gateway": {"max_hops": 0}}, "reason": "why"},
            InvalidSettings,
            r"gateway\.max_hops: .*; cache\.ttl_s: ",
        ),
        ("POST /control/settings/rollback", {"version": 9, "reason": "why"}, NotFound, "no version 9"),
        ("POST /control/settings/rollback", {"version": "0", "reason": "why"}, BadRequest, "version: "),
        ("POST /control/keys", {"name": "", "reason": "why"}, BadRequest, "key's name"),
        ("POST /control/keys", {"name": "k", "scopes": ["root"], "reason": "why"}, BadRequest, "key's scopes"),
        ("DELETE /control/keys/abc", {"reason": "why"}, NotFound, "no key"),
        ("DELETE /control/keys/../settings", {"reason": "why"}, NotFound, "no such control endpoint"),
        ("GET /control/else", None, NotFound, "no such control endpoint"),
        ("DELETE /control/settings", None, MethodNotAllowed, "GET or PUT"),
        ("PUT /control/settings", b" " * (MOST_BYTES + 1), BodyTooLarge, "at most"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    control: Control, line: str, body: Any, error: type[GatewayError], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        await ask(control, line, body)
    assert actions.list_changes(control.engine) == []


async def test_settings_that_cannot_be_read_are_a_conflict_not_a_crash(control: Control) -> None:
    with writing(control.engine) as connection:
        insert_version(connection, SettingsRow(1, "[]", "eve", "by hand", 1, "[]"))
    with pytest.raises(Conflict, match="version 1"):
        await ask(control, "GET /control/settings")
    with pytest.raises(InvalidSettings, match="deployments: needed"):
        await ask(control, "PUT /control/settings", {"settings": {"cache": {"ttl_s": 5}}, "reason": "repair"})
    saved = await ask(control, "PUT /control/settings", {"settings": dump(Settings()), "reason": "repair"})
    assert saved.body["version"] == 2


async def test_a_database_that_is_away_is_a_503(control: Control, tmp_path: Path) -> None:
    database = tmp_path / "governor.db"
    database.rename(tmp_path / "aside.db")
    database.mkdir()
    with pytest.raises(DatabaseUnavailable) as caught:
        await ask(control, "GET /control/settings")
    assert caught.value.status == 503

"""The control endpoints: settings and keys for scripts, each act authorised by scope and answered after its commit."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from backend import actions
from backend.auth.ring import LiveKeys, console_credential, identify_admin, require_scope
from backend.call import Identity
from backend.errors import BodyTooLarge, Conflict, DatabaseUnavailable, MethodNotAllowed, NotFound
from backend.gateway import control_cache
from backend.gateway.control_cache import CacheControl
from backend.gateway.control_request import Asked, ControlReply, ControlRequest, read_document, sign
from backend.settings import store
from backend.settings.document import UnreadableSettings, dump
from backend.settings.live import LiveSettings
from db.engine import DatabaseError, Engine

MOST_BYTES = 4 * 1024 * 1024
Act = Callable[..., Any]
"""Of the control, the request and who asks, a reply; the database's run in a thread, the cache's on the event loop."""


class _SettingsAsked(Asked):
    settings: dict[str, Any]
    based_on: int | None = None


class _RollbackAsked(Asked):
    version: int


class _KeyAsked(Asked):
    name: str
    scopes: list[str] = ["call"]
    models: list[str] = []
    attribution: dict[str, str] = {}
    tenant: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Answers the control endpoints; ``admin_key`` None leaves only keys with the scope admin."""

    engine: Engine
    secret: bytes
    admin_key: str | None
    keys: LiveKeys
    live: LiveSettings
    cache: CacheControl | None = None

    async def answer(self, request: ControlRequest) -> ControlReply:
        """Authorise, act in a thread, answer after the commit. Raises ``GatewayError`` and its kin."""
        identity = identify_admin(request.headers, self.keys.ring, self.admin_key, console_credential(self.secret))
        scope, act = _find_act(request)
        require_scope(identity, scope)
        if len(request.body) > MOST_BYTES:
            raise BodyTooLarge(f"A control request has at most {MOST_BYTES} bytes.")
        try:
            if inspect.iscoroutinefunction(act):
                reply: ControlReply = await act(self, request, identity)
                return reply
            return await asyncio.to_thread(self._run, act, request, identity)
        except UnreadableSettings as error:
            raise Conflict(str(error)) from None
        except DatabaseError:
            raise DatabaseUnavailable("The database does not answer; nothing is known to have changed.") from None

    def _run(self, act: Act, request: ControlRequest, identity: Identity) -> ControlReply:
        reply: ControlReply = act(self, request, identity)
        if request.method != "GET":
            self.live.refresh()  # whoever asks this worker next sees the change
        return reply


def _read_settings(control: Control, _request: ControlRequest, _identity: Identity) -> ControlReply:
    return _show(store.current(control.engine))


def _put_settings(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    asked = read_document(request.body, _SettingsAsked)
    change = actions.Change(asked.settings, sign(asked, identity), asked.based_on)
    return _show(actions.apply_settings(control.engine, change))


def _roll_back(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    asked = read_document(request.body, _RollbackAsked)
    return _show(actions.rollback_settings(control.engine, asked.version, sign(asked, identity)))


def _list_keys(control: Control, _request: ControlRequest, _identity: Identity) -> ControlReply:
    lines = actions.list_keys(control.engine)
    return ControlReply(200, {"keys": [asdict(line) | {"state": line.state()} for line in lines]})


def _create_key(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    asked = read_document(request.body, _KeyAsked)
    draft = actions.KeyDraft(**asked.model_dump(exclude={"reason", "actor"}))
    new = actions.create_key(control.engine, control.secret, draft, sign(asked, identity))
    return ControlReply(201, {"id": new.id, "key": new.credential})


def _revoke_key(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    key_id = request.path.rpartition("/")[2]
    actions.revoke_key(control.engine, key_id, sign(read_document(request.body, Asked), identity))
    return ControlReply(200, {"id": key_id, "revoked": True})


ROUTES: tuple[tuple[str, re.Pattern[str], str, Act], ...] = (
    ("GET", re.compile(r"/control/settings"), "read", _read_settings),
    ("PUT", re.compile(r"/control/settings"), "admin", _put_settings),
    ("POST", re.compile(r"/control/settings/rollback"), "admin", _roll_back),
    ("GET", re.compile(r"/control/keys"), "admin", _list_keys),
    ("POST", re.compile(r"/control/keys"), "admin", _create_key),
    ("DELETE", re.compile(r"/control/keys/[A-Za-z0-9]{1,36}"), "admin", _revoke_key),
    *control_cache.ROUTES,
)
"""Every route with the scope it needs."""


def _find_act(request: ControlRequest) -> tuple[str, Act]:
    found = [route for route in ROUTES if route[1].fullmatch(request.path)]
    if not found:
        raise NotFound("There is no such control endpoint.")
    for method, _, scope, act in found:
        if method == request.method:
            return scope, act
    raise MethodNotAllowed(f"Use {' or '.join(route[0] for route in found)} here.")


def _show(version: store.Version) -> ControlReply:
    shown = {name: getattr(version, name) for name in ("version", "actor", "reason", "created_at", "notes")}
    return ControlReply(200, {**shown, "settings": dump(version.settings)})

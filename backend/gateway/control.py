"""The control endpoints: settings and keys for scripts, each act authorised by scope and answered after its commit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from backend import actions
from backend.auth.ring import LiveKeys, identify_admin, require_scope
from backend.call import Identity
from backend.errors import BadRequest, BodyTooLarge, Conflict, DatabaseUnavailable, MethodNotAllowed, NotFound
from backend.settings import store
from backend.settings.document import UnreadableSettings, describe, dump
from backend.settings.live import LiveSettings
from db.engine import DatabaseError, Engine

MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request under ``/control/`` as it came in; header names are lower-case."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ControlReply:
    """A status and a body to be sent as JSON."""

    status: int
    body: dict[str, Any]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str
    actor: str | None = None


class _SettingsAsked(_Asked):
    settings: dict[str, Any]
    based_on: int | None = None


class _RollbackAsked(_Asked):
    version: int


class _KeyAsked(_Asked):
    name: str
    scopes: list[str] = ["call"]
    models: list[str] = []
    attribution: dict[str, str] = {}
    tenant: str | None = None
    expires_at: int | None = None


Body = TypeVar("Body", bound=_Asked)


@dataclass(frozen=True, slots=True)
class Control:
    """Answers the control endpoints; ``admin_key`` None leaves only keys with the scope admin."""

    engine: Engine
    secret: bytes
    admin_key: str | None
    keys: LiveKeys
    live: LiveSettings

    async def answer(self, request: ControlRequest) -> ControlReply:
        """Authorise, act in a thread, answer after the commit. Raises ``GatewayError`` and its kin."""
        identity = identify_admin(request.headers, self.keys.ring, self.admin_key)
        scope, act = _find_act(request)
        require_scope(identity, scope)
        if len(request.body) > MOST_BYTES:
            raise BodyTooLarge(f"A control request has at most {MOST_BYTES} bytes.")
        try:
            return await asyncio.to_thread(self._run, act, request, identity)
        except UnreadableSettings as error:
            raise Conflict(str(error)) from None
        except DatabaseError:
            raise DatabaseUnavailable("The database does not answer; nothing is known to have changed.") from None

    def _run(self, act: ActOf, request: ControlRequest, identity: Identity) -> ControlReply:
        reply = act(self, request, identity)
        if request.method != "GET":
            self.live.refresh()  # whoever asks this worker next sees the change
        return reply


ActOf = Callable[[Control, ControlRequest, Identity], ControlReply]


def _read_settings(control: Control, _request: ControlRequest, _identity: Identity) -> ControlReply:
    return _show(store.current(control.engine))


def _put_settings(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    asked = _read(request.body, _SettingsAsked)
    change = actions.Change(asked.settings, _sign(asked, identity), asked.based_on)
    return _show(actions.apply_settings(control.engine, change))


def _roll_back(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    asked = _read(request.body, _RollbackAsked)
    return _show(actions.rollback_settings(control.engine, asked.version, _sign(asked, identity)))


def _list_keys(control: Control, _request: ControlRequest, _identity: Identity) -> ControlReply:
    lines = actions.list_keys(control.engine)
    return ControlReply(200, {"keys": [asdict(line) | {"state": line.state()} for line in lines]})


def _create_key(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    asked = _read(request.body, _KeyAsked)
    draft = actions.KeyDraft(**asked.model_dump(exclude={"reason", "actor"}))
    new = actions.create_key(control.engine, control.secret, draft, _sign(asked, identity))
    return ControlReply(201, {"id": new.id, "key": new.credential})


def _revoke_key(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    key_id = request.path.rpartition("/")[2]
    actions.revoke_key(control.engine, key_id, _sign(_read(request.body, _Asked), identity))
    return ControlReply(200, {"id": key_id, "revoked": True})


ROUTES: tuple[tuple[str, re.Pattern[str], str, ActOf], ...] = (
    ("GET", re.compile(r"/control/settings"), "read", _read_settings),
    ("PUT", re.compile(r"/control/settings"), "admin", _put_settings),
    ("POST", re.compile(r"/control/settings/rollback"), "admin", _roll_back),
    ("GET", re.compile(r"/control/keys"), "admin", _list_keys),
    ("POST", re.compile(r"/control/keys"), "admin", _create_key),
    ("DELETE", re.compile(r"/control/keys/[A-Za-z0-9]{1,36}"), "admin", _revoke_key),
)
"""Every route with the scope it needs."""


def _find_act(request: ControlRequest) -> tuple[str, ActOf]:
    found = [route for route in ROUTES if route[1].fullmatch(request.path)]
    if not found:
        raise NotFound("There is no such control endpoint.")
    for method, _, scope, act in found:
        if method == request.method:
            return scope, act
    raise MethodNotAllowed(f"Use {' or '.join(route[0] for route in found)} here.")


def _read(body: bytes, kind: type[Body]) -> Body:
    try:
        document = orjson.loads(body or b"{}")
    except ValueError:
        raise BadRequest("The body is not JSON.") from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = describe(error, document)
        text = "; ".join(f"{path}: {problem}" if path else problem for path, problem in problems)
        raise BadRequest(f"The body is not valid. {text}", param=problems[0][0] or None) from None


def _sign(asked: _Asked, identity: Identity) -> actions.Signature:
    """The credential stands in the audit whatever name the caller gives."""
    credential = f"gov-{identity.key_id}" if identity.key_id else "admin key"
    return actions.Signature(f"{asked.actor} ({credential})" if asked.actor else credential, asked.reason)


def _show(version: store.Version) -> ControlReply:
    shown = {name: getattr(version, name) for name in ("version", "actor", "reason", "created_at", "notes")}
    return ControlReply(200, {**shown, "settings": dump(version.settings)})

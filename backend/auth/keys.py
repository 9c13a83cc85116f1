"""Keys as people deal with them: made (shown once), listed, revoked; each act with its audit row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from backend.auth.attribution import MOST_TAGS, NAME_LENGTH, VALUE_LENGTH, clean
from backend.auth.credentials import Hasher, make_credential
from backend.call import new_id
from backend.errors import BadRequest, NotFound
from backend.settings.signature import Signature
from db.audit import AuditRow, insert_act
from db.engine import Connection, Engine, reading, writing
from db.keys import KeyRow, exists, insert_key, list_rows, mark_revoked
from db.revisions import bump

SCOPES = ("call", "read", "admin")
"""Make calls; read settings and numbers through the control endpoints; change settings and keys there."""

MOST_MODELS = 1000


@dataclass(frozen=True, slots=True)
class KeyDraft:
    """A key to be made. ``tenant`` None gives it a cache of its own; ``expires_at`` is epoch milliseconds.

    ``attribution`` holds user, feature, department, environment; any other name is a tag put on every call.
    """

    name: str
    scopes: Sequence[str] = ("call",)
    models: Sequence[str] = ()
    attribution: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; its ``credential`` is shown now and never again."""

    id: str
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key as lists show it: neither credential nor hash."""

    id: str
    name: str
    prefix: str
    tenant: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    attribution: dict[str, str]
    created_at: int
    created_by: str | None
    expires_at: int | None
    revoked_at: int | None
    revoked_by: str | None

    def state(self, now_ms: int | None = None) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return "expired" if self.expires_at is not None and self.expires_at <= now_ms else "valid"


def create_key(engine: Engine, secret: bytes, draft: KeyDraft, by: Signature) -> NewKey:
    """Make a key; answers once it is committed, and gateways know it within a second. Raises ``BadRequest``."""
    now_ms = time.time_ns() // 1_000_000
    _check(draft, now_ms)
    credential, public = make_credential()
    row = KeyRow(
        id=public,
        hash=Hasher(secret).digest(credential.encode()).hex(),
        name=draft.name.strip(),
        prefix=f"gov-{public}",
        tenant=draft.tenant or public,
        scopes=_json(sorted(set(draft.scopes))),
        models=_json(list(draft.models)),
        attribution=_json(dict(draft.attribution)),
        created_at=now_ms,
        created_by=by.actor,
        reason=by.reason,
        expires_at=draft.expires_at,
    )
    with writing(engine) as connection:
        insert_key(connection, row)
        _record(connection, by, ("key.create", row.prefix), asdict(_line(row)))
    return NewKey(public, credential)


def revoke_key(engine: Engine, key_id: str, by: Signature) -> None:
    """Revoke a key: every gateway refuses it within a second. Revoking twice changes nothing. Raises ``NotFound``."""
    with writing(engine) as connection:
        if mark_revoked(connection, key_id, at=time.time_ns() // 1_000_000, by=by.actor):
            _record(connection, by, ("key.revoke", f"gov-{key_id}"), None)
        elif not exists(connection, key_id):
            raise NotFound("There is no key of this id.")


def list_keys(engine: Engine) -> list[KeyLine]:
    """Every key ever made, newest first; never a credential or a hash."""
    with reading(engine) as connection:
        rows = list_rows(connection)
    return [_line(row) for row in rows]


def _line(row: KeyRow) -> KeyLine:
    shown = {name: getattr(row, name) for name in KeyLine.__slots__}
    scopes, models = (tuple(orjson.loads(text)) for text in (row.scopes, row.models))
    return KeyLine(**shown | {"scopes": scopes, "models": models, "attribution": orjson.loads(row.attribution)})


def _record(connection: Connection, by: Signature, act: tuple[str, str], changes: dict[str, Any] | None) -> None:
    text = None if changes is None else _json(changes)
    at = time.time_ns() // 1_000_000
    insert_act(connection, AuditRow(new_id(), at, by.actor, act[0], act[1], by.reason, text))
    bump(connection, "keys")


def _check(draft: KeyDraft, now_ms: int) -> None:
    _demand(_is_line(draft.name.strip(), 128), "name", "needs 1 to 128 characters on one line")
    _demand(
        bool(draft.scopes) and set(draft.scopes) <= set(SCOPES), "scopes", f"are one or more of {', '.join(SCOPES)}"
    )
    models = all(_is_line(model, VALUE_LENGTH) for model in draft.models)
    _demand(models and len(draft.models) <= MOST_MODELS, "models", "are names on one line each")
    labels = all(
        _is_line(name, NAME_LENGTH) and _is_line(text, VALUE_LENGTH) for name, text in draft.attribution.items()
    )
    most = len(draft.attribution) <= MOST_TAGS
    _demand(labels and most, "attribution", f"is at most {MOST_TAGS} names with a text each")
    _demand(draft.tenant is None or _is_line(draft.tenant, 128), "tenant", "needs 1 to 128 characters on one line")
    _demand(draft.expires_at is None or draft.expires_at > now_ms, "expires_at", "lies in the past")


def _is_line(value: object, length: int) -> bool:
    return isinstance(value, str) and clean(value, length) == value


def _demand(holds: bool, name: str, problem: str) -> None:  # noqa: FBT001 - the condition itself
    if not holds:
        raise BadRequest(f"The key's {name} {problem}.", param=name)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()

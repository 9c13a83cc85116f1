from __future__ import annotations

import subprocess
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.auth.keys import KeyDraft, KeyLine, create_key, list_keys, revoke_key
from backend.errors import BadRequest, NotFound
from backend.settings.signature import Signature
from db.audit import AuditRow, list_acts
from db.engine import Engine, reading
from db.revisions import read_marks

SECRET = b"installation secret"
ANA = Signature("ana", "the search team asked")


def acts(engine: Engine) -> list[AuditRow]:
    with reading(engine) as connection:
        return list(list_acts(connection, limit=10))


def test_a_key_is_listed_as_it_was_made_but_never_its_credential(engine: Engine) -> None:
    draft = KeyDraft(
        name="search", scopes=("call", "read"), models=("gpt-4o",), attribution={"feature": "search", "team": "blue"}
    )
    new = create_key(engine, SECRET, draft, ANA)
    (line,) = list_keys(engine)
    assert (line.id, line.name, line.prefix) == (new.id, "search", f"gov-{new.id}")
    assert (line.scopes, line.models) == (("call", "read"), ("gpt-4o",))
    assert line.attribution == {"feature": "search", "team": "blue"}
    assert (line.created_by, line.state()) == ("ana", "valid")
    assert new.credential.startswith(f"{line.prefix}-")
    assert new.credential not in repr((line, new))
    assert "hash" not in {each.name for each in fields(KeyLine)}


def test_a_key_without_a_tenant_is_a_tenant_of_its_own(engine: Engine) -> None:
    made = [create_key(engine, SECRET, KeyDraft(name="k", tenant=tenant), ANA).id for tenant in (None, None, "shared")]
    assert {line.id: line.tenant for line in list_keys(engine)} == {
        made[0]: made[0],
        made[1]: made[1],
        made[2]: "shared",
    }


def test_the_credential_is_nowhere_in_the_database(sqlite: Engine, tmp_path: Path) -> None:
    new = create_key(sqlite, SECRET, KeyDraft(name="search"), ANA)
    secret_part = new.credential.rpartition("-")[2]
    for path in tmp_path.iterdir():
        assert secret_part.encode() not in path.read_bytes()
    found = subprocess.run(["grep", "-rc", new.id, str(tmp_path)], capture_output=True, check=True)
    assert found.stdout  # the public part is there, so the search looks in the right place


def test_every_act_on_a_key_is_audited_with_who_and_why_in_the_same_commit(engine: Engine) -> None:
    new = create_key(engine, SECRET, KeyDraft(name="search", models=("gpt-4o",)), ANA)
    revoke_key(engine, new.id, Signature("bo", "leaked"))
    revoked, created = acts(engine)
    assert (created.actor, created.action, created.subject, created.reason) == (
        "ana",
        "key.create",
        f"gov-{new.id}",
        "the search team asked",
    )
    assert (revoked.actor, revoked.action, revoked.reason, revoked.changes) == ("bo", "key.revoke", "leaked", None)
    assert orjson.loads(created.changes or "")["models"] == ["gpt-4o"]
    assert new.credential not in str(created)
    assert read_marks(engine)["keys"] == 2


def test_revoking_twice_changes_nothing_more(engine: Engine) -> None:
    new = create_key(engine, SECRET, KeyDraft(name="search"), ANA)
    revoke_key(engine, new.id, Signature("bo", "leaked"))
    before = list_keys(engine)
    revoke_key(engine, new.id, Signature("eve", "again"))
    assert list_keys(engine) == before
    assert (before[0].state(), before[0].revoked_by) == ("revoked", "bo")
    assert len(acts(engine)) == 2


def test_a_key_that_never_was_cannot_be_revoked(engine: Engine) -> None:
    with pytest.raises(NotFound):
        revoke_key(engine, "' OR 1=1 --", ANA)


def test_a_key_expires_at_its_moment(engine: Engine) -> None:
    moment = time.time_ns() // 1_000_000 + 60_000
    create_key(engine, SECRET, KeyDraft(name="search", expires_at=moment), ANA)
    (line,) = list_keys(engine)
    assert [line.state(moment - 1), line.state(moment)] == ["valid", "expired"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": "  "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": ()}, "scopes"),
        ({"scopes": ("call", "root")}, "scopes"),
        ({"models": ("",)}, "models"),
        ({"attribution": {"feature": ""}}, "attribution"),
        ({"attribution": {"feature": 7}}, "attribution"),
        ({"attribution": {"x" * 65: "y"}}, "attribution"),
        ({"attribution": {f"tag{number}": "y" for number in range(33)}}, "attribution"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a\x00b"}, "tenant"),
        ({"expires_at": 1}, "expires_at"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(sqlite: Engine, change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        create_key(sqlite, SECRET, KeyDraft(**asdict(KeyDraft(name="fine")) | change), ANA)
    assert caught.value.param == param
    assert list_keys(sqlite) == []

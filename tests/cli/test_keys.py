"""The keys commands: a credential is shown once."""

from __future__ import annotations

from pathlib import Path

from backend.auth.ring import KeyRing
from db.engine import connect, reading
from db.keys import list_rows
from tests.cli.conftest import Governor


def test_a_created_key_is_the_one_that_gateways_know(ready: Governor, data_dir: Path) -> None:
    (made,) = ready("keys", "create", "web", "--label", "feature=chat", "--model", "gpt-4o", "--json").lines
    engine = connect(f"sqlite:///{data_dir / 'governor.db'}")
    with reading(engine) as connection:
        ring = KeyRing((data_dir / "secret.key").read_bytes().strip(), list(list_rows(connection)))
    identity = ring.identify({b"authorization": f"Bearer {made['credential']}".encode()})
    assert identity.attribution == {"feature": "chat"}
    assert identity.models == ("gpt-4o",)


def test_the_credential_alone_goes_to_stdout(ready: Governor) -> None:
    said = ready("keys", "create", "web")
    assert said.out.startswith("gov-")
    assert said.out.count("\n") == 1
    assert "once" in said.err


def test_a_list_never_shows_a_credential(ready: Governor) -> None:
    (made,) = ready("keys", "create", "web", "--json").lines
    listed = ready("keys", "list", "--json")
    assert made["credential"] not in listed.out
    assert [(line["id"], line["state"]) for line in listed.lines] == [(made["id"], "valid")]


def test_a_key_is_revoked_by_its_id_or_its_beginning(ready: Governor) -> None:
    ids = [ready("keys", "create", name, "--json").lines[0]["id"] for name in ("one", "two")]
    assert ready("keys", "revoke", ids[0], "--reason", "left").code == 0
    assert ready("keys", "revoke", f"gov-{ids[1]}-rest", "--reason", "left").code == 0
    assert {line["state"] for line in ready("keys", "list", "--json").lines} == {"revoked"}


def test_a_key_that_does_not_exist_cannot_be_revoked(ready: Governor) -> None:
    assert ready("keys", "revoke", "nobody", "--reason", "x").code == 1


def test_a_label_is_a_name_and_a_value(ready: Governor) -> None:
    assert ready("keys", "create", "web", "--label", "feature").code == 2

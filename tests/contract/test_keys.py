"""Keys, as every client sees them: one word for every bad credential, rights that hold, labels nobody can forge."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.contract.place import ContractUpstream, Place, assert_sound, chat
from tests.contract.speakers import NAMES, Speaker, start_speaker
from tests.faults.rig import Rig

ALICE = ("--label", "user=alice", "--label", "department=search", "--label", "team=red")


class Locked(Place):
    """A gateway with keys."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.keys: dict[str, str] = {}

    def create_key(self, name: str, *options: str) -> str:
        """The credential of a new key."""
        made = json.loads(self.rig.gateway.run_command("keys", "create", name, "--json", *options))
        return str(made["credential"])

    def revoke(self, key: str) -> None:
        """Revoke a key by the beginning of its credential."""
        self.rig.gateway.run_command("keys", "revoke", key[:16], "--reason", "leaked")

    def settle(self, name: str, status: int) -> bool:
        """Whether a key is soon answered with this status."""
        headers = {"authorization": f"Bearer {self.keys[name]}"}
        ends_at = time.monotonic() + 10
        while time.monotonic() < ends_at:
            if httpx2.get(f"{self.url}/models", headers=headers).status_code == status:
                return True
            time.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """A gateway of its own: the first key closes it for everybody without one."""
    rig = Rig(tmp_path_factory.mktemp("locked"))
    rig.upstream = ContractUpstream(rig.folder)
    try:
        rig.start()
        found = Locked(rig)
        found.keys = {
            "alice": found.create_key("alice", *ALICE),
            "narrow": found.create_key("narrow", "--model", "fake/ok"),
            "reader": found.create_key("reader", "--scope", "read"),
            "revoked": found.create_key("revoked"),
        }
        found.revoke(found.keys["revoked"])
        assert found.settle("alice", 200)
        assert found.settle("revoked", 401)
        yield found
        found.engine.dispose()
    finally:
        rig.remove()


@pytest.fixture(scope="module", params=NAMES)
def caller(request: pytest.FixtureRequest, locked: Locked) -> Iterator[Speaker]:
    found = start_speaker(request.param, locked.url)
    yield found
    found.close()


def bad_credentials(locked: Locked) -> list[str]:
    alice = locked.keys["alice"]
    return [
        "none",
        "sk-123",
        alice[:-1],
        alice + "x",
        alice[:-1] + "é",
        alice.lower(),
        "gov-",
        "x" * 5000,
        locked.keys["revoked"],
    ]


def test_every_bad_credential_hears_the_same_word(caller: Speaker, locked: Locked) -> None:
    words = set()
    for key in bad_credentials(locked):
        if not key.isascii():
            continue  # clients refuse to send it
        for op in ("create", "stream"):
            failure = caller.ask(op, params=chat(), key=key).failure
            assert (failure["class"], failure["status"]) == ("AuthenticationError", 401)
            assert (failure["type"], failure["code"]) == ("authentication_error", "invalid_api_key")
            assert failure["headers"]["x-should-retry"] == "false"
            words.add(failure["body"]["message"])
    assert len(words) == 1
    assert caller.ask("models", key="sk-123").failure["status"] == 401


def test_a_key_may_do_what_it_is_for_and_nothing_else(caller: Speaker, locked: Locked) -> None:
    assert_sound(caller.ask("create", params=chat(), key=locked.keys["narrow"]))
    for key, model in (("narrow", "fake/echo"), ("reader", "fake/ok")):
        failure = caller.ask("create", params=chat(model), key=locked.keys[key]).failure
        assert (failure["class"], failure["status"]) == ("PermissionDeniedError", 403)
        assert (failure["type"], failure["code"]) == ("permission_error", "permission_denied")
        assert failure["headers"]["x-should-retry"] == "false"
    insisting = {"x-governor-deployment": "local"}
    assert caller.ask("create", params=chat(), key=locked.keys["narrow"], headers=insisting).failure["status"] == 403


def test_labels_of_the_key_cannot_be_forged(caller: Speaker, locked: Locked) -> None:
    forged = {"x-governor-user": "mallory", "x-governor-department": "board", "x-litellm-tags": "team:blue"}
    said = chat(
        "fake/ok", user="eve", metadata={"department": "sales", "user": "bob", "tenant": "other", "mood": "good"}
    )
    outcome = caller.ask("create", params=said, key=locked.keys["alice"], headers=forged)
    row = locked.row(outcome.call_id)
    assert (row["user"], row["department"]) == ("alice", "search")
    tags = json.loads(row["tags"])
    assert (tags["team"], tags["mood"]) == ("red", "good")
    assert locked.keys["alice"].startswith(f"gov-{row['key_id']}-")


def test_tenants_do_not_share_answers(caller: Speaker, locked: Locked) -> None:
    asked = chat()
    seen = [
        caller.ask("create", params=asked, key=locked.keys[name]) for name in ("alice", "narrow", "alice", "narrow")
    ]
    assert [outcome.headers["x-governor-cache"] for outcome in seen] == ["MISS", "MISS", "HIT", "HIT"]
    assert seen[2].headers["x-governor-source-call-id"] == seen[0].call_id
    assert seen[3].headers["x-governor-source-call-id"] == seen[1].call_id


def test_a_key_works_from_its_making_to_its_revoking(caller: Speaker, locked: Locked) -> None:
    key = locked.keys["brief"] = locked.create_key("brief")
    assert locked.settle("brief", 200)
    assert_sound(caller.ask("create", params=chat(), key=key))
    locked.revoke(key)
    assert locked.settle("brief", 401)
    assert caller.ask("create", params=chat(), key=key).failure["status"] == 401


def test_no_credential_is_in_the_log(caller: Speaker, locked: Locked) -> None:
    caller.ask("create", params=chat(), key=locked.keys["alice"])
    caller.ask("create", params=chat("fake/401"), key=locked.keys["alice"])
    log = locked.rig.gateway.log.read_text()
    assert '"event":"call"' in log
    assert not [key for key in locked.keys.values() if key in log or key[-20:] in log]
    assert "sk-not-a-secret" not in log

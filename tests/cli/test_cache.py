"""The cache commands: they speak to the gateway that runs, and say plainly when none does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend import actions
from backend.auth.ring import console_credential
from backend.call import Entry
from db.cache_labels import read_labels
from db.calls import close_calls
from db.columns import CALL_COLUMNS
from db.engine import connect, reading, writing
from tests.cli.conftest import Governor
from tests.cli.governor_process import free_port

DECISION = {
    "state": "serving",
    "threshold": 0.91,
    "reason": "900 labels",
    "labels": 900,
    "bound": 0.008,
    "scope": "pooled",
}
NEAR = {
    "call_id": "call-1",
    "question": "how do I reset it?",
    "similarity": 0.97,
    "probability": 0.0,
    "gate": {"agrees": False, "findings": ["numbers differ: 3 / 4"]},
    "stored_at": 1,
    "expires_at": 2,
    "would_serve": False,
}
STATUS = {
    "exact": {"enabled": True, "store": "redis", "entries": None, "dropped": 0, "breaker": "closed"},
    "semantic": {
        "enabled": True,
        "embedder": "built-in",
        "entries": 1234,
        "state": "semantic cache: ready",
        "mode": "redis, own index",
        "decision": DECISION,
        "verifier": {
            "name": "shipped-1",
            "waiting": None,
            "labels": 812,
            "next_at": 1624,
            "last": {"labels": 812, "gain": 0.004, "gain_low": -0.002, "adopted": False},
        },
        "comparisons": {"judge": "fair", "judge_failed": 3, "dropped": 7},
        "partitions": [{"partition": "ab" * 16, "tenant": "t", "model": "m", "labels": 9, "false_hits": 1, **DECISION}],
    },
    "money": {
        "since_at": 1,
        "saved_nusd": 2_000_000_000,
        "verified": 4,
        "fresh_nusd": 100_000_000,
        "embedding_nusd": 0,
        "judge_nusd": 200_000_000,
        "prefetch_nusd": 300_000_000,
        "net_nusd": 1_400_000_000,
    },
}
MISSED = {
    "exact": None,
    "exact_reason": "no live entry",
    "reason": None,
    "partition": "ab" * 16,
    "decision": DECISION,
    "nearest": [NEAR],
}


class FakeGateway:
    """Answers every request as it was told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.answer = 200, b"{}"
        self.asked: list[tuple[str, str, str, Any]] = []
        gateway = self

        class Speaker(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                said = self.headers["Authorization"], orjson.loads(raw) if raw else None
                gateway.asked.append((self.command, self.path, *said))
                self.send_response(gateway.status)
                self.end_headers()
                self.wfile.write(gateway.answer)

            do_POST = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = HTTPServer(("127.0.0.1", 0), Speaker)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def say(self, answer: Any, status: int = 200) -> None:
        self.answer, self.status = answer if isinstance(answer, bytes) else orjson.dumps(answer), status

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def gateway(governor: Governor, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    found = FakeGateway()
    monkeypatch.setenv("GOVERNOR_GATEWAY_PORT", str(found.server.server_port))
    yield found
    found.stop()


def test_a_gateway_that_does_not_run_is_said_in_one_line(governor: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERNOR_GATEWAY_PORT", str(port := free_port()))
    for command in (("status",), ("top",), ("lookup", "hi", "--model", "m"), ("purge", "--all", "--dry-run")):
        said = governor("cache", *command)
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
        assert f"No gateway answers at http://127.0.0.1:{port}" in said.err
        assert "governor up" in said.err


def test_commands_present_the_credential_of_the_installation(
    governor: Governor, gateway: FakeGateway, data_dir: Path
) -> None:
    gateway.say(STATUS)
    assert governor("cache", "status").code == 0
    secret = (data_dir / "secret.key").read_bytes().strip()
    assert gateway.asked == [("GET", "/control/cache", f"Bearer {console_credential(secret)}", None)]


@pytest.mark.parametrize(
    ("status", "answer", "complaint"),
    [
        (401, {"error": {"message": "no"}}, "not that of this data folder"),
        (400, {"error": {"message": "Say which entries."}}, "Say which entries."),
        (503, {"error": {"message": "The cache does not answer."}}, "The cache does not answer."),
        (404, b"<html>", "no gateway of this release"),
        (200, b"[]", "no gateway of this release"),
    ],
)
def test_a_refusal_is_told_as_it_is(
    governor: Governor, gateway: FakeGateway, status: int, answer: Any, complaint: str
) -> None:
    gateway.say(answer, status)
    said = governor("cache", "status")
    assert (said.code, said.out) == (1, "")
    assert complaint in said.err


def test_the_status_shows_both_layers_and_what_may_be_served(governor: Governor, gateway: FakeGateway) -> None:
    gateway.say(STATUS)
    said = governor("cache", "status")
    assert "exact     on, unknown entries in redis" in said.out
    assert "semantic  on, 1,234 entries, semantic cache: ready" in said.out
    assert "serving: 900 labels" in said.out
    assert "verifier shipped-1; refitted on 812 labels: +0.004 nats a label, at least -0.002, not taken up" in said.out
    assert "saved $2" in said.out
    assert "fresh answers to verify" in said.out
    assert "prefetch: net $1.4" in said.out
    assert "judge fair, 3 times without a verdict; 7 left out" in said.out
    assert "ab" * 16 in said.out
    assert "\x1b" not in said.out
    assert governor("cache", "status", "--json").lines == [STATUS]


def test_a_status_without_a_semantic_layer_is_short(governor: Governor, gateway: FakeGateway) -> None:
    off = {"enabled": False, "entries": 0, "state": "semantic cache: off", "decision": None, "partitions": []}
    gateway.say({"exact": STATUS["exact"], "semantic": off})
    assert governor("cache", "status").out.splitlines()[1:] == ["semantic  off, 0 entries, semantic cache: off"]


def test_a_look_up_sends_what_a_caller_would_send(governor: Governor, gateway: FakeGateway) -> None:
    gateway.say(MISSED)
    options = ("--tenant", "t", "--system", "Be brief.", "--parameter", "temperature=0", "--parameter", 'user="u"')
    said = governor("cache", "lookup", "how?", "--model", "m", *options)
    assert gateway.asked[0][3] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "how?"}],
        "parameters": {"temperature": 0, "user": "u"},
        "tenant": "t",
    }
    assert "exact     no live entry" in said.out
    assert "numbers differ: 3 / 4" in said.out
    assert governor("cache", "lookup", "how?", "--model", "m", "--json").lines == [MISSED]
    assert governor("cache", "lookup", "how?", "--model", "m", "--parameter", "temperature=x").code == 2


def test_a_hit_is_shown_with_what_it_saves(governor: Governor, gateway: FakeGateway) -> None:
    hit = {"call_id": "call-1", "stored_at": 0, "cost_nusd": 1_500_000}
    gateway.say(MISSED | {"exact": hit, "nearest": [], "decision": None, "reason": "semantic cache: off"})
    said = governor("cache", "lookup", "how?", "--model", "m")
    assert "hit: call call-1, stored 1970-01-01T00:00:00.000Z, saves $0.0015" in said.out
    assert "semantic  semantic cache: off" in said.out


def test_top_lists_the_most_served(governor: Governor, gateway: FakeGateway) -> None:
    entry = {"call_id": "c", "tenant": "t", "model": "m", "hits": 7, "stored_at": 0, "expires_at": 1, "cost_nusd": 5}
    gateway.say({"entries": [entry | {"question": None}]})
    said = governor("cache", "top", "--limit", "3", "--tenant", "t")
    assert gateway.asked[0][3] == {"limit": 3, "tenant": "t", "model": None}
    assert said.out.splitlines()[1].split()[:4] == ["7", "$0.000000005", "t", "m"]
    (line,) = governor("cache", "top", "--json").lines
    assert (line["hits"], line["cost_nusd"], line["stored_at"]) == (7, 5, "1970-01-01T00:00:00.000Z")


def test_a_dry_run_prints_counts_and_needs_no_reason(governor: Governor, gateway: FakeGateway) -> None:
    gateway.say({"exact": 1200, "semantic": None, "dry_run": True})
    said = governor("cache", "purge", "--tenant", "t", "--dry-run")
    assert said.out == "Would delete 1,200 exact and unknown semantic entries.\n"
    assert gateway.asked[0][3] == {"tenant": "t", "dry_run": True, "reason": ""}


def test_a_purge_says_which_entries_who_and_why(governor: Governor, gateway: FakeGateway) -> None:
    gateway.say({"exact": 2, "semantic": 1, "dry_run": False})
    conditions = ("--model", "m", "--partition", "ab" * 16, "--call", "a", "--call", "b", "--older-than", "2h")
    said = governor("cache", "purge", *conditions, "--reason", "stale")
    assert said.out == "Deleted 2 exact and 1 semantic entries.\n"
    (sent,) = [asked[3] for asked in gateway.asked]
    assert 7199 < sent.pop("older_than_s") < 7300
    assert sent.pop("actor").startswith("cli:")
    fixed = {"model": "m", "partition": "ab" * 16, "call_ids": ["a", "b"]}
    assert sent == {**fixed, "dry_run": False, "reason": "stale"}


def test_at_a_terminal_a_purge_waits_for_yes(
    governor: Governor, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    gateway.say({"exact": 2, "semantic": 1, "dry_run": True})
    said = governor("cache", "purge", "--all", "--reason", "clean")
    assert (said.code, said.out) == (1, "")
    assert "This deletes 2 exact and 1 semantic entries. Say --yes" in said.err
    assert [asked[3]["dry_run"] for asked in gateway.asked] == [True]
    assert governor("cache", "purge", "--all", "--reason", "clean", "--yes").code == 0
    assert [asked[3]["dry_run"] for asked in gateway.asked] == [True, False]


@pytest.mark.parametrize(
    "options",
    [
        ("--reason", "why"),
        ("--all", "--tenant", "t", "--reason", "why"),
        ("--all",),
        ("--all", "--reason", " "),
        ("--older-than", "9999-01-01", "--reason", "why"),
        ("--older-than", "soon", "--reason", "why"),
    ],
)
def test_a_purge_that_is_not_clear_asks_nothing_of_the_gateway(
    governor: Governor, gateway: FakeGateway, options: tuple[str, ...]
) -> None:
    assert governor("cache", "purge", *options).code == 2
    assert gateway.asked == []


def test_a_review_becomes_the_label_that_counts(ready: Governor, data_dir: Path) -> None:
    entry = Entry("w", "chat.completions", state="settled", status="ok", tenant="t", model="m", cache_kind="semantic")
    entry.similarity, entry.cache_probability, entry.source_call_id = 0.95, 0.99, "call-0"
    engine = connect(f"sqlite:///{data_dir / 'governor.db'}")
    with writing(engine) as connection:
        close_calls(connection, [tuple(getattr(entry, name) for name in CALL_COLUMNS)])
    said = ready("cache", "review", entry.id, "bad", "--reason", "another city", "--json")
    assert said.lines == [{"call_id": entry.id, "verdict": "bad"}]
    with reading(engine) as connection:
        (label,) = read_labels(connection)
    assert (label.id, label.same, label.source, label.note) == (entry.id, False, "human", "another city")
    assert [act.action for act in actions.list_changes(engine)] == ["cache.review"]
    engine.dispose()


def test_only_calls_that_are_known_can_be_reviewed(ready: Governor) -> None:
    assert ready("cache", "review", "nobody", "good", "--reason", "x").code == 1
    assert ready("cache", "review", "nobody", "perhaps", "--reason", "x").code == 2

"""Files and batches, as every client sees them: made, listed, waited for, read, cancelled; never another tenant's."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from tests.contract.place import Place, say
from tests.contract.speakers import Speaker
from tests.contract.test_keys import Locked, caller, locked

CHAT, EMBEDDINGS, TEXT = "/v1/chat/completions", "/v1/embeddings", "/v1/completions"
FINAL = {"completed", "failed", "cancelled", "expired"}

__all__ = ["caller", "locked"]


def line(custom_id: str, model: str = "fake/ok", url: str = CHAT, **body: Any) -> dict[str, Any]:
    content = {"messages": say()} if url == CHAT else {"input" if url == EMBEDDINGS else "prompt": str(uuid.uuid4())}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model} | content | body}


class Batches:
    """A client that speaks of files and batches."""

    def __init__(self, speaker: Speaker, key: str = "none") -> None:
        self._speaker = speaker
        self._key = key

    def do(self, verb: str, **asked: Any) -> Any:
        outcome = self._speaker.ask("do", verb=verb, key=self._key, **asked)
        assert outcome.error is None, outcome.error
        return outcome.value

    def fail(self, verb: str, **asked: Any) -> tuple[str, int]:
        failure = self._speaker.ask("do", verb=verb, key=self._key, **asked).failure
        return failure["class"], failure["status"]

    def upload(self, *lines: dict[str, Any], name: str = "in.jsonl") -> Any:
        text = "".join(json.dumps(each) + "\n" for each in lines)
        return self.do("files.create", params={"file": [name, text], "purpose": "batch"})

    def create(self, *lines: dict[str, Any], endpoint: str = CHAT, **params: Any) -> Any:
        asked = {"input_file_id": self.upload(*lines)["id"], "endpoint": endpoint, "completion_window": "24h"}
        return self.do("batches.create", params=asked | params)

    def wait(self, batch: Any, statuses: set[str] = FINAL) -> Any:
        ends_at = time.monotonic() + 60
        while batch["status"] not in statuses:
            assert time.monotonic() < ends_at, batch
            time.sleep(0.05)
            batch = self.do("batches.retrieve", id=batch["id"])
        return batch

    def read(self, file_id: str | None) -> list[Any]:
        text = "" if file_id is None else self.do("files.content", id=file_id)
        return [json.loads(each) for each in text.splitlines()]


@pytest.fixture
def batches(speaker: Speaker) -> Batches:
    return Batches(speaker)


def test_a_file_is_uploaded_listed_read_and_deleted(batches: Batches) -> None:
    lines = [line("ä"), line("b")]
    made = batches.upload(*lines, name="mein file.jsonl")
    assert (made["object"], made["purpose"], made["filename"]) == ("file", "batch", "mein file.jsonl")
    assert made["status"] == "processed"
    assert made["id"].startswith("file-")
    assert batches.do("files.retrieve", id=made["id"]) == made
    content = batches.do("files.content", id=made["id"])
    assert (len(content.encode()), [json.loads(each) for each in content.splitlines()]) == (made["bytes"], lines)
    batches.upload(line("c"))
    listed = batches.do("files.list", params={"limit": 1, "purpose": "batch"})
    assert made in listed
    assert len({each["id"] for each in listed}) == len(listed)
    assert batches.do("files.delete", id=made["id"]) == {"id": made["id"], "object": "file", "deleted": True}
    assert batches.fail("files.retrieve", id=made["id"]) == ("NotFoundError", 404)


@pytest.mark.parametrize("endpoint", [CHAT, EMBEDDINGS, TEXT])
def test_a_batch_answers_every_line_and_each_is_a_row(batches: Batches, place: Place, endpoint: str) -> None:
    lines = [line(f"r{number}", url=endpoint) for number in range(5)]
    made = batches.create(*lines, endpoint=endpoint, metadata={"team": "red"})
    assert (made["object"], made["endpoint"], made["completion_window"]) == ("batch", endpoint, "24h")
    assert made["metadata"] == {"team": "red"}
    done = batches.wait(made)
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 5, "completed": 5, "failed": 0})
    assert done.get("error_file_id") is None
    answers = batches.read(done["output_file_id"])
    assert [each["custom_id"] for each in answers] == [f"r{number}" for number in range(5)]
    assert {each["response"]["status_code"] for each in answers} == {200}
    rows = place.rows(*(each["response"]["request_id"] for each in answers))
    assert {(row["endpoint"], row["status"]) for row in rows} == {
        ({CHAT: "chat.completions", EMBEDDINGS: "embeddings", TEXT: "completions"}[endpoint], "ok")
    }
    assert {json.loads(row["tags"])["batch"] for row in rows} == {made["id"]}
    assert done["governor"]["cost_nusd"] == sum(row["cost_nusd"] for row in rows) > 0
    assert batches.do("batches.list", params={"limit": 2})[0] == done


def test_lines_that_fail_are_in_the_error_file_with_the_upstreams_words(batches: Batches) -> None:
    done = batches.wait(batches.create(line("good"), line("bad", "fake/status:400"), line("none", messages=[])))
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 3, "completed": 1, "failed": 2})
    assert [each["custom_id"] for each in batches.read(done["output_file_id"])] == ["good"]
    bad, none = batches.read(done["error_file_id"])
    assert (bad["custom_id"], bad["error"], bad["response"]["status_code"]) == ("bad", None, 400)
    assert bad["response"]["body"]["error"]["message"]
    assert none["response"]["body"]["error"]["param"] == "messages"


def test_a_bad_file_fails_the_batch_with_the_lines_that_are_wrong(batches: Batches) -> None:
    wrong = line("c", url=EMBEDDINGS)
    done = batches.wait(batches.create(line("a"), line("a"), wrong, {"custom_id": "d"}))
    assert (done["status"], done.get("output_file_id")) == ("failed", None)
    found = [(each["line"], each["code"]) for each in done["errors"]["data"]]
    assert found == [(2, "duplicate_custom_id"), (3, "invalid_url"), (4, "missing_required_parameter")]
    assert done["failed_at"]


def test_an_empty_file_fails_the_batch(batches: Batches) -> None:
    file_id = batches.do("files.create", params={"file": ["in.jsonl", "\n"], "purpose": "batch"})["id"]
    asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    done = batches.wait(batches.do("batches.create", params=asked))
    assert [each["code"] for each in done["errors"]["data"]] == ["empty_file"]


def test_a_batch_is_cancelled_in_the_middle_and_keeps_what_it_has(batches: Batches) -> None:
    made = batches.create(*(line(f"r{number}", "fake/slow-first-byte:200") for number in range(200)))
    begun = batches.wait(made, {"in_progress"} | FINAL)
    ends_at = time.monotonic() + 30
    while not begun["request_counts"]["completed"]:
        assert time.monotonic() < ends_at
        begun = batches.do("batches.retrieve", id=made["id"])
    assert batches.do("batches.cancel", id=made["id"])["status"] == "cancelling"
    done = batches.wait(begun)
    counts = done["request_counts"]
    assert (done["status"], counts["total"]) == ("cancelled", 200)
    assert len(batches.read(done["output_file_id"])) == counts["completed"] < 200
    undone = batches.read(done["error_file_id"])
    assert (len(undone), {each["error"]["code"] for each in undone}) == (counts["failed"], {"batch_cancelled"})
    assert batches.fail("batches.cancel", id=made["id"]) == ("ConflictError", 409)


@pytest.mark.parametrize(
    ("params", "status"),
    [({"completion_window": "1h"}, 400), ({"endpoint": "/v1/images/generations"}, 400), ({"input_file_id": "x"}, 404)],
)
def test_a_batch_that_cannot_be_is_refused(batches: Batches, params: dict[str, str], status: int) -> None:
    asked = {"input_file_id": batches.upload(line("a"))["id"], "endpoint": CHAT, "completion_window": "24h"}
    assert batches.fail("batches.create", params=asked | params)[1] == status


def test_another_purpose_is_refused(batches: Batches) -> None:
    params = {"file": ["in.jsonl", "{}"], "purpose": "fine-tune"}
    assert batches.fail("files.create", params=params) == ("BadRequestError", 400)


def test_another_tenants_files_and_batches_are_not_there(caller: Speaker, locked: Locked) -> None:
    alice, narrow = Batches(caller, locked.keys["alice"]), Batches(caller, locked.keys["narrow"])
    made = alice.wait(alice.create(line("a"), line("b", "fake/echo")))
    assert made["status"] == "completed"
    for file_id in (made["input_file_id"], made["output_file_id"]):
        for verb in ("files.retrieve", "files.content", "files.delete"):
            assert narrow.fail(verb, id=file_id) == ("NotFoundError", 404)
        assert alice.do("files.retrieve", id=file_id)["id"] == file_id
    for verb in ("batches.retrieve", "batches.cancel"):
        assert narrow.fail(verb, id=made["id"]) == ("NotFoundError", 404)
    assert made["id"] not in [each["id"] for each in narrow.do("batches.list")]
    asked = {"input_file_id": made["input_file_id"], "endpoint": CHAT, "completion_window": "24h"}
    assert narrow.fail("batches.create", params=asked) == ("NotFoundError", 404)
    reader, stranger = Batches(caller, locked.keys["reader"]), Batches(caller)
    assert reader.fail("batches.list") == ("PermissionDeniedError", 403)
    assert stranger.fail("files.list") == ("AuthenticationError", 401)


def test_lines_are_calls_of_the_key_that_made_the_batch(caller: Speaker, locked: Locked) -> None:
    narrow, alice = Batches(caller, locked.keys["narrow"]), Batches(caller, locked.keys["alice"])
    done = narrow.wait(narrow.create(line("may"), line("may not", "fake/echo")))
    (refused,) = narrow.read(done["error_file_id"])
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("may not", 403)
    (answer,) = alice.read(alice.wait(alice.create(line("mine")))["output_file_id"])
    row = locked.row(answer["response"]["request_id"])
    assert (row["user"], row["department"]) == ("alice", "search")
    assert locked.keys["alice"].startswith(f"gov-{row['key_id']}-")

"""the scripted upstream does on the wire what its model name says, and journals it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import Ask, Cut, Outcome, place_call
from tests.faults.upstream import Upstream, read_upstream_journal
from tests.faults.upstream.behaviours import BEHAVIOURS
from tests.faults.waiting import wait_until
from tests.faults.wire import Wire

# what a naive client believes, streamed and whole; silent behaviours end by the client's own time-out
NATURAL_ENDS = {
    "ok": ("ok", "ok"),
    "echo": ("ok", "ok"),
    "slow-first-byte:20": ("ok", "ok"),
    "slow-stream:5:20": ("ok", "ok"),
    "accept-never-answer": ("timeout", "timeout"),
    "accept-then-reset": ("no_answer", "no_answer"),
    "headers-only": ("timeout", "timeout"),
    "stall-after-n:2": ("timeout", "timeout"),
    "die-at-byte-n:300": ("cut", "cut"),
    "die-at-byte-n:300:clean": ("ok", "cut"),
    "rst-at-byte-n:300": ("cut", "cut"),
    "error-chunk": ("error", "error"),
    "json-tail": ("ok", "ok"),
    "200-json-error": ("error", "error"),
    "no-usage": ("ok", "ok"),
    "reject-include-usage": ("error", "ok"),
    "usage-every-chunk:20": ("ok", "ok"),
    "usage-zero": ("ok", "ok"),
    "usage-huge": ("ok", "ok"),
    "same-id": ("ok", "ok"),
    "429-with-retry-after": ("error", "error"),
    "429-with-retry-after-ms": ("error", "error"),
    "500-then-ok:1": ("error", "error"),
    "status:503": ("error", "error"),
    "400": ("error", "error"),
    "401": ("error", "error"),
    "garbage-json": ("ok", "ok"),
    "wrong-content-type": ("ok", "ok"),
    "gzip-bomb:1": ("ok", "ok"),
    "huge-body:1": ("ok", "ok"),
    "keepalive-comments": ("ok", "ok"),
    "keepalive-data": ("ok", "ok"),
    "empty-finish-reason": ("ok", "ok"),
    "tool-calls": ("ok", "ok"),
    "utf-8": ("ok", "ok"),
    "cached-usage": ("ok", "ok"),
    "poison:nul": ("ok", "ok"),
    "poison:surrogate": ("ok", "ok"),
    "poison:number": ("ok", "ok"),
    "poison:huge": ("ok", "ok"),
}
SILENT = 0.3


async def ask(upstream: Upstream, model: str, **options: object) -> Outcome:
    fields = {"timeout_s": SILENT if "timeout" in NATURAL_ENDS.get(model, ("",)) else 20.0} | options
    return await place_call(upstream.port, Ask(f"fake/{model}", **fields))  # type: ignore[arg-type]


def only_record(journal: Path) -> dict[str, Any]:
    (record,) = read_upstream_journal(journal)
    return record


def test_every_behaviour_is_tried_below() -> None:
    ours = {name for name, play in BEHAVIOURS.items() if play.__module__.startswith("tests.faults.")}
    assert {name.partition(":")[0] for name in NATURAL_ENDS} == ours


@pytest.mark.parametrize("model", NATURAL_ENDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_behaviour_ends_as_scripted_and_is_journalled(
    upstream: Upstream, upstream_journal: Path, model: str, stream: bool
) -> None:
    outcome = await ask(upstream, model, stream=stream, include_usage=stream)
    assert outcome.end == NATURAL_ENDS[model][0 if stream else 1]
    await wait_until(lambda: only_record(upstream_journal)["end"] != "open")
    record = only_record(upstream_journal)
    assert record["marker"] == outcome.marker
    assert record["end"] in {"complete", "faulty", "refused", "died", "reset", "peer_left"}


@pytest.mark.parametrize("endpoint", ["chat", "text", "embeddings"])
async def test_the_same_seed_gives_the_same_answer(upstream: Upstream, endpoint: str) -> None:
    first, again, other = [await ask(upstream, f"ok@{seed}", endpoint=endpoint) for seed in "112"]
    assert first.end == "ok"
    assert first.content_sha == again.content_sha
    assert endpoint == "embeddings" or first.content_sha != other.content_sha


@pytest.mark.parametrize("model", ["ok", "echo", "tool-calls", "utf-8", "poison:surrogate", "usage-every-chunk:9"])
async def test_client_and_journal_agree_on_text_and_usage(
    upstream: Upstream, upstream_journal: Path, model: str
) -> None:
    for stream in (True, False):
        await ask(upstream, model, stream=stream, include_usage=stream)
        outcome = await ask(upstream, model, stream=stream, include_usage=stream)
        record = read_upstream_journal(upstream_journal)[-1]
        assert (outcome.content_sha, outcome.usage) == (record["content_sha"], record["stated"])
        assert record["billed"]["completion_tokens"] == record["stated"]["completion_tokens"]


@pytest.mark.parametrize("offset", [0, 1, 57, 300])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_sends_exactly_so_many_bytes(upstream: Upstream, offset: int, stream: bool) -> None:
    for ending in ("die", "rst"):
        outcome = await ask(upstream, f"{ending}-at-byte-n:{offset}@7", stream=stream)
        assert outcome.end == "cut"
        assert outcome.bytes == offset


async def test_a_clean_cut_beyond_the_answer_is_a_whole_answer(upstream: Upstream, upstream_journal: Path) -> None:
    outcome = await ask(upstream, "die-at-byte-n:100000:clean", stream=True)
    assert outcome.done
    assert only_record(upstream_journal)["end"] == "complete"


async def test_the_peer_leaving_is_seen_at_once(upstream: Upstream, upstream_journal: Path) -> None:
    outcome = await ask(upstream, "slow-stream:100:20000", stream=True, cut=Cut(words=2))
    assert outcome.end == "left"
    await wait_until(lambda: only_record(upstream_journal)["end"] != "open")
    record = only_record(upstream_journal)
    assert record["end"] == "peer_left"
    assert record["billed"]["completion_tokens"] in (2, 3)


async def test_attempts_of_a_marker_are_counted(upstream: Upstream, upstream_journal: Path) -> None:
    marker = "1" * 36
    ends = [(await ask(upstream, "500-then-ok:2", marker=marker)).end for _ in range(3)]
    assert ends == ["error", "error", "ok"]
    assert [record["ordinal"] for record in read_upstream_journal(upstream_journal)] == [1, 2, 3]


async def test_several_requests_travel_on_one_connection(upstream: Upstream, upstream_journal: Path) -> None:
    async with Wire(upstream.port) as wire:
        for _ in range(3):
            wire.received.complete = False
            await wire.post("/v1/chat/completions", Ask().body())
            while await wire.read_some():
                pass
    assert [record["end"] for record in read_upstream_journal(upstream_journal)] == ["complete"] * 3


async def test_usage_is_only_shown_when_asked_for(upstream: Upstream) -> None:
    silent, asked = [await ask(upstream, "ok", stream=True, include_usage=wanted) for wanted in (False, True)]
    assert silent.usage is None
    assert asked.usage is not None
    assert asked.usage["total_tokens"] == asked.usage["prompt_tokens"] + asked.usage["completion_tokens"]


async def test_retry_hints_are_sent(upstream: Upstream) -> None:
    assert (await ask(upstream, "429-with-retry-after:7")).headers["retry-after"] == "7"
    assert (await ask(upstream, "429-with-retry-after-ms:70")).headers["retry-after-ms"] == "70"


def test_a_journal_line_that_comes_later_wins(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps({"id": "a", "end": end}) + "\n" for end in ("open", "complete")))
    assert read_upstream_journal(path) == [{"id": "a", "end": "complete"}]


async def test_text_is_hashed_as_the_reader_sees_it(upstream: Upstream) -> None:
    outcome = await ask(upstream, "utf-8:1", stream=True)
    assert outcome.content_sha == hashlib.sha256("héllo 世界 🚀 ß".encode()).hexdigest()

"""A batch job outlives its workers: kill -9 in the middle, resumed by who is left, every line once in the results."""

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections import Counter
from typing import Any

import openai
import pytest

from tests.faults.load import kill
from tests.faults.rig import PATIENT, Rig
from tests.faults.waiting import wait_until

pytestmark = pytest.mark.faults

SETTINGS = {"upstream": PATIENT, "batch": {"lease_s": 1, "max_parallel": 4}, "cache": {"exact_enabled": False}}
FINAL = {"completed", "failed", "cancelled", "expired"}


def line(number: int, behaviour: str = "slow-first-byte:150") -> dict[str, Any]:
    """A request whose marker is its custom id, in the prompt and as session."""
    marker = str(uuid.uuid4())
    prompt = [{"role": "user", "content": f"say something call-marker:{marker}"}]
    body = {"model": f"fake/{behaviour}@{number}", "messages": prompt, "metadata": {"session_id": marker}}
    return {"custom_id": marker, "method": "POST", "url": "/v1/chat/completions", "body": body}


class Client:
    """The official client, which tries again while the gateway is away."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        url = f"http://127.0.0.1:{rig.gateway.port}/v1"
        self._client = openai.OpenAI(base_url=url, api_key="none", max_retries=20, timeout=3)

    def start(self, lines: list[dict[str, Any]]) -> str:
        """Upload and begin; the batch's id."""
        text = "\n".join(map(json.dumps, lines)).encode()
        made = self._client.files.create(file=("in.jsonl", text), purpose="batch")
        endpoint: Any = lines[0]["url"]
        return self._client.batches.create(input_file_id=made.id, endpoint=endpoint, completion_window="24h").id

    def show(self, batch_id: str) -> Any:
        """The batch now."""
        return self._client.batches.retrieve(batch_id)

    def read(self, file_id: str | None) -> list[dict[str, Any]]:
        """Lines of a result file."""
        text = self._client.files.content(file_id).text if file_id else ""
        return [json.loads(each) for each in text.splitlines()]

    async def wait_done(self, batch_id: str, least: int) -> None:
        """Until so many lines have ended."""
        await wait_until(lambda: _ended(self.show(batch_id)) >= least, 60)

    def note(self, lines: list[dict[str, Any]], answers: list[dict[str, Any]], sends: int) -> None:
        """Write the client's book: what each line got; a line may have been sent again after a loss."""
        models = {each["custom_id"]: each["body"]["model"] for each in lines}
        with self.rig.journal.path.open("a") as book:
            for each in answers:
                record = _outcome(each["custom_id"], models[each["custom_id"]], each["response"])
                book.write(json.dumps(record | {"sends": sends}) + "\n")


def _ended(batch: Any) -> int:
    counts = batch.request_counts
    return int(counts.completed + counts.failed) if batch.status not in FINAL else int(counts.total)


def _outcome(marker: str, model: str, response: dict[str, Any]) -> dict[str, Any]:
    text = response["body"]["choices"][0]["message"]["content"]
    words = {"content_sha": hashlib.sha256(text.encode()).hexdigest(), "words": 1, "usage": response["body"]["usage"]}
    known = {"marker": marker, "model": model, "call_id": response["request_id"], "http_status": 200, "end": "ok"}
    return known | words | {"stream": False, "sent_at": time.time()}


async def test_a_job_goes_on_after_kill_9_and_the_books_are_equal(pair: Rig, kills: int) -> None:
    pair.start(SETTINGS)
    client, lines = Client(pair), [line(number) for number in range(80)]
    batch_id = await asyncio.to_thread(client.start, lines)
    dice, killed = random.Random(7), 0
    for number, kind in enumerate(["worker", "group", "worker", "group"][: max(2, kills // 10)]):
        await client.wait_done(batch_id, 8 * (number + 1))
        await asyncio.sleep(dice.uniform(0.05, 0.2))
        await kill(pair.gateway, kind)
        killed += 1
    await wait_until(lambda: client.show(batch_id).status in FINAL, 120)
    done = client.show(batch_id)
    assert (done.status, done.error_file_id) == ("completed", None)
    assert (done.request_counts.completed, done.request_counts.total) == (80, 80)
    answers = client.read(done.output_file_id)
    assert [each["custom_id"] for each in answers] == [each["custom_id"] for each in lines]
    client.note(lines, answers, sends=1 + killed)
    books = await asyncio.to_thread(pair.close)
    rows = Counter(call["session_id"] for call in books.calls)
    assert set(rows) == {each["custom_id"] for each in lines}
    assert sum(rows.values()) - 80 <= 4 * killed, "a line was sent again that was not under way when its worker died"
    shown = {each["response"]["request_id"] for each in answers}
    repeated = [call for call in books.calls if call["id"] not in shown]
    assert {call["state"] for call in repeated} <= {"unknown", "settled", "estimated"}


async def test_sigterm_lets_lines_finish_and_the_next_start_goes_on(rig: Rig) -> None:
    rig.start(SETTINGS)
    client, lines = Client(rig), [line(number) for number in range(40)]
    batch_id = await asyncio.to_thread(client.start, lines)
    await client.wait_done(batch_id, 5)
    assert await asyncio.to_thread(rig.gateway.stop) == 0
    await asyncio.to_thread(rig.gateway.start)
    await wait_until(lambda: client.show(batch_id).status in FINAL, 60)
    done = client.show(batch_id)
    answers = client.read(done.output_file_id)
    client.note(lines, answers, sends=1)
    books = await asyncio.to_thread(rig.close)
    assert len(answers) == len(books.calls) == 40
    assert {call["status"] for call in books.calls} == {"ok"}


async def test_a_frozen_worker_loses_its_job_and_writes_nothing_more(pair: Rig) -> None:
    pair.start(SETTINGS)
    client, lines = Client(pair), [line(number) for number in range(40)]
    batch_id = await asyncio.to_thread(client.start, lines)
    await client.wait_done(batch_id, 5)
    victims = await asyncio.to_thread(pair.gateway.workers)
    for victim in victims:  # one after the other: one of them holds the job
        victim.suspend()
        await asyncio.sleep(1.5)
        victim.resume()
    await wait_until(lambda: client.show(batch_id).status in FINAL, 60)
    answers = client.read(client.show(batch_id).output_file_id)
    assert sorted(each["custom_id"] for each in answers) == sorted(each["custom_id"] for each in lines)
    client.note(lines, answers, sends=3)
    books = await asyncio.to_thread(pair.close)
    rows = Counter(call["session_id"] for call in books.calls)
    assert sum(rows.values()) - 40 <= 2 * 4

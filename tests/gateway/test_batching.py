"""Jobs at work: lines as calls of their owner, some at once, behind live calls, until the worker stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backend.batch.jobs import MAX_COST
from backend.call import Identity
from backend.errors import Unauthenticated, UpstreamRefused
from backend.gateway import batching as module
from backend.gateway import job_run
from backend.gateway.batching import Batching
from backend.settings.knobs import Settings
from db.engine import Engine
from tests.batch.jobs import CHAT, OWNER, Office, jsonl, request
from tests.fakes import HANG, PAUSE, Scene, deployment, scene, settings, whole

COST_NUSD = 2850
BUSY = UpstreamRefused("slow down", status=429, body=None, retry_after_ms=1)


def knobs(*deployments: Any, **batch: Any) -> Settings:
    upstream = {"max_attempts": 1, "backoff_ms": 0, "cooldown_failures": 1000}
    return settings(*deployments, upstream=upstream, cache={"exact_enabled": False}, batch={"backoff_ms": 0} | batch)


@pytest.fixture
def office(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setattr(job_run, "_LOOK_S", 0.005)
    monkeypatch.setattr(job_run, "_EXCHANGE_S", 0.0)
    monkeypatch.setattr(module, "_DRAIN_LOOK_S", 0.005)
    return Office(sqlite)


def at_work(stage: Scene, office: Office, worker: str = "a") -> Batching:
    return Batching(stage.gateway, office.desk(worker), 5.0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


@asynccontextmanager
async def watched(batching: Batching) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(batching.watch())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def finish(stage: Scene, office: Office, job_id: str) -> dict[str, Any]:
    """Run until no job is left; the batch as it then is."""
    batching = at_work(stage, office)
    await batching.look()
    await batching.settled()
    return office.shown(job_id)


async def test_every_line_is_a_call_of_the_jobs_owner(office: Office) -> None:
    stage = scene([whole("fine")], document=knobs())
    job_id = office.create(jsonl(*map(request, range(5))))
    shown = await finish(stage, office, job_id)
    assert (shown["status"], shown["request_counts"]) == ("completed", {"total": 5, "completed": 5, "failed": 0})
    lines = office.results(shown["output_file_id"])
    assert [line["custom_id"] for line in lines] == [f"r{number}" for number in range(5)]
    assert {line["response"]["body"]["choices"][0]["message"]["content"] for line in lines} == {"fine"}
    rows = {row.id: row for row in stage.ledger.recorded}
    assert {line["response"]["request_id"] for line in lines} == set(rows)
    assert {(row.tenant, row.key_id, row.origin, row.status) for row in rows.values()} == {
        ("tenant", "key-1", "user", "ok")
    }
    assert {str(row.tags) for row in rows.values()} == {str({"batch": job_id})}
    assert shown["governor"]["cost_nusd"] == sum(row.cost_nusd or 0 for row in rows.values()) == 5 * COST_NUSD
    assert stage.gateway.open_calls == 0


async def test_a_line_is_begun_in_the_database_before_it_goes_out(office: Office) -> None:
    stage = scene([HANG], document=knobs(max_parallel=2))
    office.create(jsonl(*map(request, range(5))))
    async with watched(at_work(stage, office)):
        await until(lambda: len(stage.client.requests) == 2)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(stage.client.requests) == stage.gateway.open_calls == 2
    assert stage.gateway.open_calls == 0


async def test_labels_of_the_batchs_request_are_on_its_calls(office: Office) -> None:
    stage = scene([whole()], document=knobs())
    document = {"input_file_id": office.upload(jsonl(request())), "endpoint": CHAT, "completion_window": "24h"}
    labels = {"x-governor-user": "alice", "x-governor-tag-team": "red"}
    job_id = office.jobs.create(OWNER, document, labels)["id"]
    await finish(stage, office, job_id)
    row = stage.ledger.only
    assert (row.user, row.tags) == ("alice", {"team": "red", "batch": job_id})


async def test_what_the_key_may_not_do_its_lines_may_not_do(office: Office) -> None:
    stage = scene([whole()], document=knobs())
    stage.keys.identity = Identity("tenant", "key-1", models=("other",))
    shown = await finish(stage, office, office.create(jsonl(request())))
    (line,) = office.results(shown["error_file_id"])
    assert (line["response"]["status_code"], stage.client.requests) == (403, [])
    assert (stage.ledger.only.status, shown["output_file_id"]) == ("refused", None)


async def test_a_revoked_keys_lines_are_refused_and_no_call(office: Office) -> None:
    stage = scene([whole()], document=knobs())
    stage.keys.refusal = Unauthenticated("The API key is missing or not valid.")
    shown = await finish(stage, office, office.create(jsonl(request())))
    (line,) = office.results(shown["error_file_id"])
    assert (line["response"]["status_code"], line["response"]["request_id"]) == (401, None)
    assert (stage.ledger.recorded, stage.gateway.open_calls) == ([], 0)


@pytest.mark.parametrize(("tries", "status"), [(3, "completed"), (2, "failed")])
async def test_a_line_that_finds_no_room_comes_again(office: Office, tries: int, status: str) -> None:
    stage = scene([BUSY], [BUSY], [whole()], document=knobs(max_tries=tries))
    shown = await finish(stage, office, office.create(jsonl(request())))
    assert shown["request_counts"][status] == 1
    assert len(stage.client.requests) == len(stage.ledger.recorded) == tries


async def test_another_refusal_is_final(office: Office) -> None:
    stage = scene([UpstreamRefused("no", status=400, body=b'{"error": {"message": "no"}}')], document=knobs())
    shown = await finish(stage, office, office.create(jsonl(request())))
    (line,) = office.results(shown["error_file_id"])
    assert (line["response"]["body"], len(stage.client.requests)) == ({"error": {"message": "no"}}, 1)


async def test_a_budget_that_is_reached_ends_the_job(office: Office) -> None:
    stage = scene([whole()], document=knobs(max_parallel=1))
    metadata = {MAX_COST: "0.000005"}  # reached by the second call
    shown = await finish(stage, office, office.create(jsonl(*map(request, range(5))), metadata=metadata))
    assert (shown["status"], shown["request_counts"]) == ("completed", {"total": 5, "completed": 2, "failed": 3})
    assert shown["governor"] == {"cost_nusd": 2 * COST_NUSD, "max_cost_nusd": 5000}
    assert [line["error"]["code"] for line in office.results(shown["error_file_id"])] == ["batch_budget_reached"] * 3


async def test_lines_wait_while_live_calls_are_many(office: Office) -> None:
    stage = scene([whole()], document=knobs(live_share=0.0002))  # two of ten thousand
    job_id = office.create(jsonl(*map(request, range(3))))
    stage.gateway.open_calls = 3
    async with watched(at_work(stage, office)):
        await until(lambda: office.shown(job_id)["status"] == "in_progress")
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert stage.client.requests == []
        stage.gateway.open_calls = 2
        await until(lambda: office.shown(job_id)["status"] == "completed")


@pytest.mark.parametrize(
    ("provider", "window", "expected"), [("vllm", 10, 9), ("vllm", 1, 1), ("openai", 10, 3), ("openai", 2, 1)]
)
async def test_a_local_engine_is_filled_to_its_window(
    office: Office, provider: str, window: int, expected: int
) -> None:
    served = deployment(provider=provider, base_url="http://127.0.0.1:9/v1", max_parallel=window)
    stage = scene([HANG], document=knobs(served, max_parallel=3))
    office.create(jsonl(*map(request, range(20))))
    async with watched(at_work(stage, office)):
        await until(lambda: len(stage.client.requests) == expected)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(stage.client.requests) == expected


async def test_a_model_that_nobody_serves_fails_the_job_before_any_call(office: Office) -> None:
    stage = scene([whole()], document=knobs(deployment(model="known")))
    shown = await finish(stage, office, office.create(jsonl(request())))
    assert (shown["status"], shown["errors"]["data"][0]["code"]) == ("failed", "model_not_found")
    assert stage.ledger.recorded == []


async def test_cancelling_lets_lines_under_way_finish(office: Office) -> None:
    stage = scene([PAUSE] * 5000 + [whole()], document=knobs(max_parallel=1))
    job_id = office.create(jsonl(*map(request, range(3))))
    async with watched(at_work(stage, office)):
        await until(lambda: len(stage.client.requests) == 1)
        office.jobs.cancel(OWNER, job_id)
        await until(lambda: office.shown(job_id)["status"] == "cancelled")
    assert office.shown(job_id)["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert stage.ledger.only.status == "ok"


async def test_a_worker_that_drains_finishes_its_lines_and_lets_the_job_go(office: Office) -> None:
    stage, other = scene([PAUSE] * 50 + [whole()], document=knobs(max_parallel=2)), scene([whole()], document=knobs())
    job_id = office.create(jsonl(*map(request, range(6))))
    async with watched(at_work(stage, office)) as task:
        await until(lambda: len(stage.client.requests) == 2)
        stage.gateway.draining = True
        await asyncio.wait({task})
    assert {row.status for row in stage.ledger.recorded} == {"ok"}
    assert await finish(other, office, job_id)
    assert len(stage.ledger.recorded) + len(other.ledger.recorded) == 6
    assert office.shown(job_id)["request_counts"] == {"total": 6, "completed": 6, "failed": 0}


async def test_a_line_that_never_ends_is_cut_when_the_drain_is_over(office: Office) -> None:
    stage, other = scene([HANG], document=knobs()), scene([whole()], document=knobs())
    job_id = office.create(jsonl(request()))
    batching = Batching(stage.gateway, office.desk(), 0.01)
    async with watched(batching) as task:
        await until(lambda: len(stage.client.requests) == 1)
        stage.gateway.draining = True
        await asyncio.wait({task})
    assert [(row.status, row.state) for row in stage.ledger.recorded] == [("cancelled", "estimated")]
    assert (await finish(other, office, job_id))["status"] == "completed"


async def test_two_workers_never_do_a_line_twice(office: Office) -> None:
    stages = [scene([PAUSE, whole()], document=knobs(max_parallel=3)) for _ in range(2)]
    jobs = [office.create(jsonl(*map(request, range(12)))) for _ in range(4)]
    workers = [at_work(stage, office, name) for stage, name in zip(stages, "ab", strict=True)]
    async with watched(workers[0]), watched(workers[1]):
        await until(lambda: all(office.shown(job_id)["status"] == "completed" for job_id in jobs))
    assert sum(len(stage.client.requests) for stage in stages) == 48
    assert all(stage.client.requests for stage in stages)


async def test_no_more_jobs_run_than_the_knob_allows_and_none_at_zero(office: Office) -> None:
    stage = scene([HANG], document=knobs(jobs_per_worker=0))
    for _ in range(3):
        office.create(jsonl(request()))
    batching = at_work(stage, office)
    await batching.look()
    assert stage.client.requests == []
    stage.use(knobs(jobs_per_worker=2))
    async with watched(batching):
        await until(lambda: len(stage.client.requests) == 2)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(stage.client.requests) == 2


async def test_a_job_made_is_looked_at_without_waiting(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 1000.0)
    monkeypatch.setattr(module, "_DRAIN_LOOK_S", 1000.0)
    stage = scene([whole()], document=knobs())
    batching = at_work(stage, office)
    async with watched(batching):
        await asyncio.sleep(0.05)
        job_id = office.create(jsonl(request()))
        batching.wake()
        await until(lambda: office.shown(job_id)["status"] == "completed")

"""Jobs at work: lines as calls of their owner, some at once, behind live calls, until the worker stops."""

from __future__ import annotations

import asyncio

import pytest

from backend.auth.attribution import MOST_TAGS
from backend.gateway import batching as module
from backend.gateway.batching import Batching
from tests.batch.jobs import CHAT, OWNER, Office, jsonl, request
from tests.fakes import HANG, PAUSE, deployment, scene, whole
from tests.gateway.at_work import COST_NUSD, at_work, finish, knobs, office, until, watched

__all__ = ["office"]


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


@pytest.mark.parametrize(
    "labels",
    [
        {"x-litellm-tags": ",".join(f"team-{number}" for number in range(MOST_TAGS))},
        {"x-litellm-tags": "batch:nightly"},
        {"x-portkey-metadata": '{"batch": "nightly"}'},
        {f"x-governor-tag-{number}": "red" for number in range(MOST_TAGS)},
    ],
)
async def test_no_label_hides_which_job_a_call_is_of(office: Office, labels: dict[str, str]) -> None:
    stage = scene([whole()], document=knobs())
    document = {"input_file_id": office.upload(jsonl(request())), "endpoint": CHAT, "completion_window": "24h"}
    job_id = office.jobs.create(OWNER, document, labels)["id"]
    await finish(stage, office, job_id)
    assert (stage.ledger.only.tags or {}).get("batch") == job_id


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

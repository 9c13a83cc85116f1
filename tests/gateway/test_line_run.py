"""A line on its way: what may come again, what is waited for, what is final."""

from __future__ import annotations

import asyncio

import pytest

from backend.batch.wire import DAY_MS
from backend.call import Identity
from backend.errors import LedgerUnavailable, Unauthenticated, UpstreamInterrupted, UpstreamRefused, UpstreamUnreachable
from tests.batch.jobs import OWNER, Office, jsonl, request
from tests.fakes import PAUSE, deployment, scene, whole
from tests.gateway.at_work import BUSY, at_work, finish, knobs, office, until, watched

__all__ = ["office"]


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


async def test_an_engine_that_is_away_is_waited_for_without_new_lines_or_counted_tries(office: Office) -> None:
    stage = scene(*[[UpstreamUnreachable("away")]] * 9, [whole()], document=knobs(max_tries=2, max_parallel=1))
    stage.use(knobs(max_tries=2, max_parallel=1))
    shown = await finish(stage, office, office.create(jsonl(*map(request, range(3)))))
    assert shown["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert len(stage.client.requests) == 12


async def test_no_line_is_begun_while_another_waits_for_its_engine(office: Office) -> None:
    stage = scene([PAUSE, UpstreamUnreachable("away")], document=knobs(max_parallel=2, backoff_ms=60_000))
    job_id = office.create(jsonl(*map(request, range(5))))
    async with watched(at_work(stage, office)):
        await until(lambda: len(stage.client.requests) == 2)
        stage.use(knobs(max_parallel=5))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(stage.client.requests) == 2
        office.jobs.cancel(OWNER, job_id)
        await until(lambda: office.shown(job_id)["status"] == "cancelled")


async def test_a_line_that_waits_for_its_engine_ends_with_the_jobs_time(office: Office) -> None:
    stage = scene([UpstreamUnreachable("away")], document=knobs(backoff_ms=1))
    job_id = office.create(jsonl(request()))
    async with watched(at_work(stage, office)):
        await until(lambda: len(stage.client.requests) > 2)
        office.clock.at += 2 * DAY_MS
        await until(lambda: office.shown(job_id)["status"] == "expired")
    (line,) = office.results(office.shown(job_id)["error_file_id"])
    assert line["error"]["code"] == "batch_expired"


async def test_an_own_engine_that_breaks_off_is_asked_again(office: Office) -> None:
    served = deployment(provider="vllm", base_url="http://127.0.0.1:9/v1")
    stage = scene([UpstreamInterrupted("broke off")], [whole()], document=knobs(served))
    assert (await finish(stage, office, office.create(jsonl(request()))))["request_counts"]["completed"] == 1


async def test_a_complete_answer_is_never_asked_for_again(office: Office) -> None:
    stage = scene([whole()], document=knobs())

    def refuse() -> None:
        raise LedgerUnavailable("the record could not be brought to the disk")

    stage.ledger.on_durable = refuse
    shown = await finish(stage, office, office.create(jsonl(request())))
    assert (shown["request_counts"]["completed"], len(stage.client.requests)) == (1, 1)

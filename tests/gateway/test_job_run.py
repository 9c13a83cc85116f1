"""A job at work: how many lines go out, what a budget and a database that falls away do to it."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from backend.batch.desk import Desk
from backend.batch.jobs import MAX_COST
from backend.settings.knobs import UpstreamSettings
from tests.batch.jobs import Office, jsonl, request
from tests.fakes import HANG, PAUSE, deployment, scene, whole
from tests.gateway.at_work import COST_NUSD, at_work, finish, knobs, office, until, watched

__all__ = ["office"]


async def test_a_budget_that_is_reached_ends_the_job(office: Office) -> None:
    stage = scene([whole()], document=knobs(max_parallel=1))
    metadata = {MAX_COST: "0.000006"}  # pays for two calls
    shown = await finish(stage, office, office.create(jsonl(*map(request, range(5))), metadata=metadata))
    assert (shown["status"], shown["request_counts"]) == ("completed", {"total": 5, "completed": 2, "failed": 3})
    assert shown["governor"] == {"cost_nusd": 2 * COST_NUSD, "max_cost_nusd": 6000}
    assert [line["error"]["code"] for line in office.results(shown["error_file_id"])] == ["batch_budget_reached"] * 3


async def test_a_call_of_unknown_cost_ends_a_job_with_a_budget(office: Office) -> None:
    stage = scene([whole(usage={"prompt_tokens": -1})], document=knobs())
    shown = await finish(stage, office, office.create(jsonl(*map(request, range(3))), metadata={MAX_COST: "1"}))
    assert (shown["status"], shown["errors"]["data"][0]["code"]) == ("failed", "batch_cost_unknown")
    assert (len(stage.client.requests), len(office.results(shown["output_file_id"]))) == (1, 1)


async def test_a_model_without_a_price_is_refused_a_budget(office: Office) -> None:
    stage = scene([whole()], document=knobs(deployment(price=None)))
    shown = await finish(stage, office, office.create(jsonl(request()), metadata={MAX_COST: "1"}))
    assert (shown["status"], shown["errors"]["data"][0]["code"]) == ("failed", "unknown_cost")
    assert stage.client.requests == []


async def test_a_cost_nobody_knows_is_not_told_as_nothing(office: Office) -> None:
    stage = scene([whole()], document=knobs(deployment(price=None)))
    shown = await finish(stage, office, office.create(jsonl(request())))
    assert (shown["status"], shown["request_counts"]["completed"]) == ("completed", 1)
    assert shown["governor"]["cost_nusd"] is None


async def test_a_database_that_falls_away_loses_no_answer_and_sends_no_line_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scene([PAUSE, whole()], document=knobs(max_parallel=2))
    job_id = office.create(jsonl(*map(request, range(6))))
    exchange, asked = Desk.exchange, count()

    def falter(desk: Desk, *arguments: Any) -> Any:
        number = next(asked)
        if number % 3 == 1:
            raise OperationalError("exchange", None, Exception("gone before it was written"))
        found = exchange(desk, *arguments)
        if number % 3 == 2:
            raise OperationalError("exchange", None, Exception("gone after it was written"))
        return found

    monkeypatch.setattr(Desk, "exchange", falter)
    shown = await finish(stage, office, job_id)
    assert shown["request_counts"] == {"total": 6, "completed": 6, "failed": 0}
    assert len(stage.client.requests) == 6
    assert shown["governor"]["cost_nusd"] == 6 * COST_NUSD


async def test_rows_the_database_refuses_fail_the_job_with_a_reason(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise DataError("finish", None, Exception("too big"))

    monkeypatch.setattr(Desk, "finish", refuse)
    shown = await finish(scene([whole()], document=knobs()), office, office.create(jsonl(request())))
    assert (shown["status"], shown["errors"]["data"][0]["code"]) == ("failed", "internal_error")
    assert shown["request_counts"]["completed"] == 1


async def test_no_line_is_begun_while_the_only_deployment_rests(office: Office) -> None:
    stage = scene([whole()], document=knobs())
    health = stage.gateway.upstream.health
    health.failed("local", UpstreamSettings(cooldown_failures=1, cooldown_s=3600))
    job_id = office.create(jsonl(request()))
    async with watched(at_work(stage, office)):
        await until(lambda: office.shown(job_id)["status"] == "in_progress")
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert stage.client.requests == []
        health.succeeded("local")
        await until(lambda: office.shown(job_id)["status"] == "completed")


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

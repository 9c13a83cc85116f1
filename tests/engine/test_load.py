"""Load on a server that streams: what is sent, what is counted, what is timed."""

from __future__ import annotations

import pytest

from backend.engine.load import Call, Load, Run, run_load
from backend.engine.shapes import Shape
from tests.engine.speaking import speaking


async def test_every_caller_comes_back_until_the_time_is_over() -> None:
    with speaking() as server:
        run = await run_load(Load(server.place, (Shape(20, 4),), 3, warm_up_s=0.05, measure_s=0.3))
    assert len(run.calls) >= 3
    assert all(call.error is None for call in run.calls)
    assert {call.completion_tokens for call in run.calls} == {4}
    assert {call.prompt_tokens for call in run.calls} == {20}
    assert all(call.began_s < run.end_s for call in run.calls)
    assert len(server.bodies) == len(run.calls)


async def test_prompts_differ_but_for_what_they_share_and_the_answer_runs_to_its_length() -> None:
    with speaking() as server:
        await run_load(Load(server.place, (Shape(12, 2, 8),), 2, warm_up_s=0.0, measure_s=0.2))
    heads = {tuple(body["prompt"][:8]) for body in server.bodies}
    tails = {tuple(body["prompt"][8:]) for body in server.bodies}
    assert len(heads) == 1
    assert len(tails) == len(server.bodies)
    assert all(body["ignore_eos"] and body["max_tokens"] == 2 and body["stream"] for body in server.bodies)


async def test_several_shapes_are_sent_in_turn() -> None:
    with speaking() as server:
        await run_load(Load(server.place, (Shape(5, 1), Shape(9, 1)), 1, warm_up_s=0.0, measure_s=0.2))
    lengths = [len(body["prompt"]) for body in server.bodies]
    assert lengths[:4] == [5, 9, 5, 9]


async def test_a_server_that_takes_no_token_numbers_gets_words() -> None:
    with speaking() as server:
        await run_load(Load(server.place, (Shape(6, 1),), 1, server="ollama", warm_up_s=0.0, measure_s=0.1))
    assert all(len(body["prompt"].split()) == 6 and "ignore_eos" not in body for body in server.bodies)


async def test_refused_calls_are_counted_with_what_was_said() -> None:
    with speaking() as server:
        server.fails_every = 2
        run = await run_load(Load(server.place, (Shape(4, 1),), 1, warm_up_s=0.0, measure_s=0.5))
    failed = [call for call in run.calls if call.error]
    assert 0 < len(failed) < len(run.calls)
    assert failed[0].error == '503: {"error": "overloaded"}'


async def test_an_answer_cut_short_failed() -> None:
    with speaking() as server:
        server.cuts = True
        run = await run_load(Load(server.place, (Shape(4, 3),), 1, warm_up_s=0.0, measure_s=0.1))
    assert {call.error for call in run.calls} == {"the stream ended before its end"}


async def test_a_server_that_is_not_there_fails_every_call_and_raises_nothing() -> None:
    with speaking() as server:
        place = server.place
    run = await run_load(Load(place, (Shape(4, 1),), 2, warm_up_s=0.0, measure_s=0.2))
    assert run.calls
    assert all((call.error or "").startswith("Client") for call in run.calls)


def test_the_time_between_tokens_is_the_mean_after_the_first() -> None:
    call = Call(1.0, [1.5, 1.6, 2.1], 2.2, completion_tokens=7)
    assert call.ttft_ms == 500
    assert call.itl_ms == pytest.approx(100)
    assert call.total_ms == pytest.approx(1200)
    assert Call(1.0, [1.5], 1.5, completion_tokens=1).itl_ms is None


def test_only_calls_begun_and_tokens_arrived_within_the_window_count() -> None:
    early = Call(0.9, [1.5, 2.5], 2.5, completion_tokens=8)
    late = Call(2.0, [2.1], 2.1, completion_tokens=1)
    inside = Call(1.0, [1.2, 1.4, 1.9, 2.0], 2.0, completion_tokens=4)
    run = Run([early, late, inside], 1.0, 2.0)
    assert run.counted == [inside]
    assert early.tokens_within(1.0, 2.0) == 4
    assert inside.tokens_within(1.0, 2.0) == 3
    assert late.tokens_within(1.0, 2.0) == 0

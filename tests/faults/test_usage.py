"""Usage and money: what the upstream states, states oddly or does not state at all."""

import pytest

from tests.faults.clients import UNMARKED, Ask, Outcome
from tests.faults.rig import Rig
from tests.faults.wire import Wire

pytestmark = pytest.mark.faults

STATED = ["ok", "usage-every-chunk:1000", "usage-zero", "usage-huge", "cached-usage:7"]
SHAPED = ["same-id", "tool-calls", "utf-8", "keepalive-comments", "keepalive-data", "empty-finish-reason", "echo"]
UNSTATED = ["ok", "usage-every-chunk:1000", "usage-zero", "usage-huge", "cached-usage:7"]


async def body_of(port: int, ask: Ask) -> bytes:
    async with Wire(port) as wire:
        await wire.post("/v1/chat/completions", ask.body())
        while await wire.read_some():
            pass
    return bytes(wire.received.body)


async def test_every_way_of_stating_usage_is_billed_exactly(rig: Rig) -> None:
    rig.start()
    asks = [
        Ask(f"fake/{name}", stream=stream, include_usage=asked)
        for name in STATED + SHAPED + UNSTATED
        for stream, asked in ((False, False), (True, False), (True, True))
    ]
    asks += [Ask(f"fake/ok@{seed}", endpoint=endpoint) for seed in "12" for endpoint in ("text", "embeddings")]
    asks += [Ask("fake/ok", endpoint="text", stream=True, include_usage=asked) for asked in (False, True)]
    outcomes = await rig.place_all(asks)
    assert {(outcome.model, outcome.end) for outcome in outcomes if outcome.end != "ok"} == set()
    assert_usage_shown_only_when_asked(asks, outcomes)
    books = rig.close()
    by_model = {call["model"]: call for call in books.calls}
    zero = by_model["fake/usage-zero"]
    assert (zero["state"], zero["cost_nusd"], zero["completion_tokens"]) == ("settled", 0, 0)
    assert by_model["fake/usage-every-chunk:1000"]["completion_tokens"] == 1000
    assert all(by_model[f"fake/{name}"]["usage_source"] in ("estimated", "provider") for name in UNSTATED)


def assert_usage_shown_only_when_asked(asks: list[Ask], outcomes: list[Outcome]) -> None:
    for ask, outcome in zip(asks, outcomes, strict=True):
        if ask.stream and not ask.include_usage and "usage-every-chunk" not in ask.model:
            assert outcome.usage is None, ask
        if ask.include_usage and ask.model.removeprefix("fake/") not in UNSTATED:
            assert outcome.usage is not None, ask


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_byte_for_byte_the_upstreams(shared: Rig, stream: bool) -> None:
    ask = Ask(f"fake/same-id@{stream}", stream=stream, marker=UNMARKED)
    assert await body_of(shared.gateway.port, ask) == await body_of(shared.upstream.port, ask)


async def test_one_provider_id_for_many_calls_is_many_rows(shared: Rig) -> None:
    outcomes = await shared.place_all([Ask("fake/same-id", stream=bool(number % 2)) for number in range(60)])
    assert {outcome.end for outcome in outcomes} == {"ok"}
    assert len(await shared.wait_rows(*outcomes)) == 60

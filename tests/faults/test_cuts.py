"""Every-byte cut: wherever an upstream stops, nobody may take the answer for a whole one."""

import openai
import pytest

from tests.faults.clients import UNMARKED, Ask, Outcome, place_call
from tests.faults.rig import Rig
from tests.faults.wire import Wire

pytestmark = pytest.mark.faults

END = b"data: [DONE]"


async def honest_bytes(shared: Rig, endpoint: str) -> bytes:
    """The whole answer, with a model name as long as that of the cut ones."""
    ask = Ask("fake/die-at-byte-n:99999@7", endpoint=endpoint, stream=True, include_usage=True, marker=UNMARKED)
    async with Wire(shared.upstream.port) as wire:
        await wire.post({"chat": "/v1/chat/completions", "text": "/v1/completions"}[endpoint], ask.body())
        while await wire.read_some():
            pass
    return bytes(wire.received.body)


def cuts(whole: int, form: str, endpoint: str, stride: int) -> list[Ask]:
    name, _, ending = form.partition("+")
    suffix = f":{ending}" if ending else ""
    return [
        Ask(f"fake/{name}:{offset:05}{suffix}@7", endpoint=endpoint, stream=True) for offset in range(0, whole, stride)
    ]


FORMS = [("die-at-byte-n", "chat", 1), ("die-at-byte-n+clean", "chat", 1), ("rst-at-byte-n", "chat", 5)]
FORMS += [("die-at-byte-n", "text", 7), ("die-at-byte-n+clean", "text", 7)]


@pytest.mark.parametrize(("form", "endpoint", "stride"), FORMS)
async def test_no_cut_stream_ever_ends_normally(
    shared: Rig, form: str, endpoint: str, stride: int, thorough: bool
) -> None:
    whole = await honest_bytes(shared, endpoint)
    assert 1000 < len(whole) < 4096
    asks = cuts(whole.index(END) + len(END), form, endpoint, 1 if thorough else stride)
    outcomes = await shared.place_all(asks, at_once=10)
    assert not [outcome for outcome in outcomes if took_for_whole(outcome)]


def took_for_whole(outcome: Outcome) -> bool:
    """A normal end, `[DONE]`, or nothing that says an error occurred."""
    return outcome.end == "ok" or outcome.done or outcome.end not in ("error", "cut")


@pytest.mark.parametrize("form", ["die-at-byte-n", "die-at-byte-n+clean"])
async def test_no_cut_whole_answer_is_served(shared: Rig, form: str, thorough: bool) -> None:
    direct = await place_call(shared.upstream.port, Ask("fake/die-at-byte-n:99999@7", marker=UNMARKED))
    name, _, ending = form.partition("+")
    suffix = f":{ending}" if ending else ""
    asks = [Ask(f"fake/{name}:{offset:05}{suffix}@7") for offset in range(0, direct.bytes, 1 if thorough else 4)]
    outcomes = await shared.place_all(asks, at_once=10)
    assert {outcome.end for outcome in outcomes} == {"error"}


async def test_the_official_client_raises_for_every_kind_of_cut(shared: Rig, thorough: bool) -> None:
    whole = await honest_bytes(shared, "chat")
    url = f"http://127.0.0.1:{shared.gateway.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for position, ask in enumerate(cuts(whole.index(END), "die-at-byte-n+clean", "chat", 10 if thorough else 60)):
            with pytest.raises(openai.APIError):
                await read_stream(client, ask.model, position)


async def read_stream(client: openai.AsyncOpenAI, model: str, position: int) -> None:
    text = f"cut number {position}"
    stream = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True
    )
    async for _chunk in stream:
        pass

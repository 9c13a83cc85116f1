"""python -m tests.contract.upstream: the scripted upstream with more behaviours, those of a wire contract."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.upstream.__main__ import main
from tests.faults.upstream.answer import DONE, Event, sse
from tests.faults.upstream.bent import play
from tests.faults.upstream.exchange import Exchange, error_body
from tests.faults.upstream.registry import behaves

ODD: dict[str, Any] = {
    "number": 5,
    "choices-number": {"id": "x", "choices": 5},
    "choice-number": {"id": "x", "choices": [5]},
    "choice-null": {"id": "x", "choices": [None]},
    "delta-text": {"id": "x", "choices": [{"index": 0, "delta": "word", "message": "word"}]},
    "index-text": {"id": "x", "choices": [{"index": "zero", "delta": {"content": "w"}, "message": {"content": "w"}}]},
    "index-list": {"id": "x", "choices": [{"index": [], "delta": {"content": "w"}, "message": {"content": "w"}}]},
    "content-number": {"id": "x", "choices": [{"index": 0, "delta": {"content": 5}, "message": {"content": 5}}]},
    "tools-number": {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [5]}, "message": {"tool_calls": 5}}]},
    "usage-text": {"id": "x", "choices": [], "usage": "plenty"},
    "usage-list": {"id": "x", "choices": [], "usage": [1, 2]},
    "tier-list": {"id": "x", "choices": [], "usage": {"prompt_tokens": 1}, "service_tier": ["a", {}]},
    "nameless": {"choices": [{"finish_reason": ["stop"], "logprobs": 7}]},
    "text-list": {"id": "x", "choices": [{"index": 0, "text": ["w"], "finish_reason": "stop"}]},
}
"""Answers that are JSON and nothing else; a gateway must neither crash on them nor lose the call."""

EXTRA = {"provider_note": {"trace": ["a", 1, None, {"deep": 1.5}]}, "x_ünïcode": "é", "citations": []}


@behaves("reflect")
async def answer_reflection(exchange: Exchange) -> None:
    """The request body as the upstream saw it, as the text of the answer."""
    exchange.answer.words = [json.dumps(exchange.asked.body)]
    await exchange.send_answer()


@behaves("extra")
async def answer_extra(exchange: Exchange) -> None:
    """Fields that no specification knows, in the frame, the choice and the message."""
    answer = exchange.answer
    if not exchange.asked.stream:
        body = answer.body() | EXTRA
        body["choices"][0] |= EXTRA
        body["choices"][0]["message"] |= EXTRA
        await exchange.reply_with(body)
        return
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": {"content": word} | EXTRA, "finish_reason": None} | EXTRA for word in answer.words
    ]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"} | EXTRA)
    events = [Event(sse(answer.chunk([choice]) | EXTRA), "") for choice in choices]
    await exchange.stream([*events, Event(DONE)])


@behaves("silence")
async def answer_after_comments(exchange: Exchange) -> None:
    """`silence:ms:comments`: that long nothing but comments, then a sound answer."""
    total_ms, comments = exchange.asked.number(0, 1000), int(exchange.asked.number(1, 10))
    await exchange.open_stream()
    for _ in range(comments):
        await exchange.send(b": still here\n\n")
        await exchange.pause(total_ms / comments / 1000)
    for event in exchange.answer.events():
        await exchange.send_event(event)
    await exchange.finish()


@behaves("two-tools")
async def call_two_tools(exchange: Exchange) -> None:
    """Two tool calls whose arguments arrive in turns."""
    answer = exchange.answer
    answer.finish_reason = "tool_calls"
    names, arguments = ("get_weather", "get_time"), ('{"city": "Zürich"}', '{"zone": "Europe/Zürich"}')
    opened = [
        {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        for index, name in enumerate(names)
    ]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None, "tool_calls": [opened[0]]}]
    deltas.append({"tool_calls": [opened[1]]})
    for position in range(max(map(len, arguments))):
        pieces = [(index, text[position]) for index, text in enumerate(arguments) if position < len(text)]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for index, piece in pieces]
    usage = [answer.usage_event(answer.usage)] if exchange.asked.include_usage else []
    events = [answer.event(delta) for delta in deltas] + [answer.event({}, finish_reason="tool_calls"), *usage]
    await play(exchange, [*events, Event(DONE)])


@behaves("split-error")
async def refuse_in_pieces(exchange: Exchange) -> None:
    """A refusal whose body arrives in two segments."""
    body = error_body("The words of the upstream itself", 422)
    head = {"content-type": "application/json", "content-length": str(len(body))}
    await exchange._head(422, head)
    for piece in (body[:20], body[20:]):
        await exchange.send_raw(piece)
        await exchange.pause(0.05)
    exchange.acceptance.end = "refused"


@behaves("odd")
async def answer_oddly(exchange: Exchange) -> None:
    """`odd:name`: an entry of ODD, as a body or between sound events."""
    odd = ODD[exchange.asked.word(0, "number")]
    if not exchange.asked.stream:
        await exchange.reply(200, json.dumps(odd).encode(), end="faulty")
        return
    sound = exchange.answer.events()
    raw = Event(b"data: " + json.dumps(odd).encode() + b"\n\n")
    await exchange.stream([*sound[:2], raw, *sound[2:]], end="faulty")


if __name__ == "__main__":
    main()

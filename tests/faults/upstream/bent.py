"""behaviours that answer, but not honestly: in-band errors, odd usage, odd bytes, odd sizes."""

import gzip
import json
from typing import Any

from tests.faults.upstream.answer import DONE, Answer, Event, sse, usage_of
from tests.faults.upstream.exchange import Exchange, error_body
from tests.faults.upstream.registry import behaves

MEGABYTE = 1 << 20
NUL_TEXT, LONE_SURROGATE = "a\x00b ", "a\ud800b "


def dump(body: dict[str, Any]) -> bytes:
    """JSON bytes of a whole answer."""
    return json.dumps(body).encode()


async def play(exchange: Exchange, events: list[Event], end: str = "complete") -> None:
    """Stream bent events, or reply whole with the bent answer."""
    if exchange.asked.stream:
        await exchange.stream(events, end)
    else:
        await exchange.reply_with(exchange.answer.body(), end)


@behaves("error-chunk")
async def send_error_chunk(exchange: Exchange) -> None:
    """`error-chunk[:events[:done]]`: an error inside a 200 stream, then a clean end, with `[DONE]` if told so."""
    events = exchange.answer.events()[: int(exchange.asked.number(0, 3))]
    events.append(Event(b"data: " + error_body("The server is overloaded", 503) + b"\n\n"))
    if exchange.asked.word(1, "") == "done":
        events.append(Event(DONE))
    await exchange.stream(events, end="faulty")


@behaves("json-tail")
async def send_json_tail(exchange: Exchange) -> None:
    """`json-tail[:events]`: a stream whose tail is a bare JSON error, not an event."""
    events = exchange.answer.events()[: int(exchange.asked.number(0, 3))]
    await exchange.stream([*events, Event(error_body("upstream overloaded", 503))], end="faulty")


@behaves("200-json-error")
async def send_error_as_200(exchange: Exchange) -> None:
    """Status 200 around an error body, streamed or not."""
    await exchange.reply(200, error_body("The model is overloaded", 503), end="faulty")


@behaves("no-usage")
async def omit_usage(exchange: Exchange) -> None:
    """Never states the usage."""
    events = [event for event in exchange.answer.events() if event.usage is None]
    if exchange.asked.stream:
        await exchange.stream(events)
    else:
        body = exchange.answer.body()
        del body["usage"]
        await exchange.reply_with(body)


@behaves("reject-include-usage")
async def reject_usage_option(exchange: Exchange) -> None:
    """Refuses `stream_options.include_usage` with 400, else streams without usage."""
    if exchange.asked.include_usage:
        await exchange.refuse(400, "Unrecognized request argument supplied: stream_options")
    else:
        await exchange.send_answer()


@behaves("usage-every-chunk")
async def repeat_usage(exchange: Exchange) -> None:
    """`usage-every-chunk[:chunks]`: every chunk carries the cumulative usage (default 1000)."""
    answer = exchange.answer
    answer.words = ["word "] * int(exchange.asked.number(0, 1000))
    answer.usage = usage_of(answer.prompt_tokens, len(answer.words))
    events = []
    for position, word in enumerate(answer.words, start=1):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        usage = usage_of(answer.prompt_tokens, position)
        events.append(Event(sse(answer.chunk([choice]) | {"usage": usage}), word, usage))
    final = {"index": 0, "delta": {}, "finish_reason": "stop"}
    last = Event(sse(answer.chunk([final]) | {"usage": answer.usage}), "", answer.usage)
    await play(exchange, [*events, last, Event(DONE)])


@behaves("usage-zero")
async def state_zero(exchange: Exchange) -> None:
    """States that nothing was used."""
    exchange.answer.usage = usage_of(0, 0)
    await exchange.send_answer()


@behaves("usage-huge")
async def state_huge(exchange: Exchange) -> None:
    """`usage-huge[:tokens]`: states an absurd usage (default 10^12 completion tokens)."""
    exchange.answer.usage = usage_of(2**31, int(exchange.asked.number(0, 10**12)))
    await exchange.send_answer()


@behaves("cached-usage")
async def state_cached(exchange: Exchange) -> None:
    """`cached-usage[:tokens]`: part of the prompt came from the provider's cache."""
    answer = exchange.answer
    cached = min(int(exchange.asked.number(0, 5)), answer.prompt_tokens)
    answer.usage = answer.usage | {"prompt_tokens_details": {"cached_tokens": cached}}
    await exchange.send_answer()


@behaves("same-id")
async def repeat_id(exchange: Exchange) -> None:
    """The same response id for every call."""
    exchange.answer.id = "chatcmpl-same"
    await exchange.send_answer()


@behaves("garbage-json")
async def send_garbage(exchange: Exchange) -> None:
    """Bytes that are announced as JSON and are not."""
    if exchange.asked.stream:
        await exchange.stream([Event(b"data: {not json\n\n"), Event(DONE)], end="faulty")
    else:
        await exchange.reply(200, b'{"id": "x", "choices": [{"mess', end="faulty")


@behaves("wrong-content-type")
async def send_html(exchange: Exchange) -> None:
    """Status 200 with a web page, as a captive portal would."""
    page = b"<html><body>Welcome to the airport network</body></html>"
    await exchange.reply(200, page, {"content-type": "text/html"}, end="faulty")


@behaves("gzip-bomb")
async def send_bomb(exchange: Exchange) -> None:
    """`gzip-bomb[:megabytes]`: a small body that inflates to megabytes of blanks (default 100)."""
    blanks = gzip.compress(b" " * (int(exchange.asked.number(0, 100)) * MEGABYTE))
    await exchange.reply(200, blanks, {"content-encoding": "gzip"}, end="faulty")


@behaves("huge-body")
async def send_huge(exchange: Exchange) -> None:
    """`huge-body[:megabytes]`: one enormous answer (default 30), as a body or as a single event."""
    exchange.answer.words = ["x" * (int(exchange.asked.number(0, 30)) * MEGABYTE)]
    await exchange.send_answer()


@behaves("keepalive-comments")
async def send_comments(exchange: Exchange) -> None:
    """Comment lines between the events, as proxies send them."""
    events = [part for event in exchange.answer.events() for part in (Event(b": keepalive\n\n"), event)]
    await play(exchange, events)


@behaves("keepalive-data")
async def send_empty_data(exchange: Exchange) -> None:
    """Keep-alives in data lines, which some servers send."""
    odd = [Event(b"data: \n\n"), Event(b"data: : keepalive\n\n")]
    events = [part for position, event in enumerate(exchange.answer.events()) for part in (odd[position % 2], event)]
    await play(exchange, events)


@behaves("empty-finish-reason")
async def send_empty_finish(exchange: Exchange) -> None:
    """`finish_reason` is the empty string throughout."""
    exchange.answer.finish_reason = ""
    raw = [
        event._replace(raw=event.raw.replace(b'"finish_reason":null', b'"finish_reason":""'))
        for event in exchange.answer.events()
    ]
    await play(exchange, raw)


@behaves("tool-calls")
async def send_tool_call(exchange: Exchange) -> None:
    """`tool-calls[:pieces]`: one call whose arguments are split across chunks."""
    arguments = json.dumps({"city": "Zürich", "days": 3, "unit": "°C"}, ensure_ascii=False)
    size = max(1, len(arguments) // int(exchange.asked.number(0, 8)))
    answer = exchange.answer
    answer.words = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    answer.usage = usage_of(answer.prompt_tokens, len(answer.words))
    answer.finish_reason = "tool_calls"
    if exchange.asked.stream:
        await exchange.stream(_tool_events(answer))
        return
    body = answer.body()
    tool = _tool(answer.content, "get_weather") | {"id": "call_1", "type": "function"}
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [tool]}
    await exchange.reply_with(body)


def _tool_events(answer: Answer) -> list[Event]:
    opening = {"index": 0, "id": "call_1", "type": "function"} | _tool("", name="get_weather")
    events = [answer.event({"role": "assistant", "content": None, "tool_calls": [opening]})]
    events += [answer.event({"tool_calls": [{"index": 0} | _tool(piece)]}, text=piece) for piece in answer.words]
    events.append(answer.event({}, finish_reason=answer.finish_reason))
    events += [answer.usage_event(answer.usage)] if answer.asked.include_usage else []
    return [*events, Event(DONE)]


def _tool(arguments: str, name: str | None = None) -> dict[str, Any]:
    return {"function": ({"name": name} if name else {}) | {"arguments": arguments}}


@behaves("utf-8")
async def split_characters(exchange: Exchange) -> None:
    """`utf-8[:bytes]`: every write ends inside a character (default 1 byte per write)."""
    answer = exchange.answer
    answer.words = ["héllo ", "世界 ", "🚀 ", "ß"]
    answer.usage = usage_of(answer.prompt_tokens, len(answer.words))
    if not exchange.asked.stream:
        await exchange.reply_with(answer.body())
        return
    await exchange.open_stream()
    size = int(exchange.asked.number(0, 1))
    for event in answer.events():
        raw = json_as_utf8(event.raw)
        for start in range(0, len(raw), size):
            await exchange.send(raw[start : start + size])
            await exchange.part()
        exchange.note(event)
    await exchange.finish()


def json_as_utf8(raw: bytes) -> bytes:
    """Turn the escapes of an event into characters."""
    payload = raw.removeprefix(b"data: ").strip()
    if payload == b"[DONE]":
        return raw
    return b"data: " + json.dumps(json.loads(payload), ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@behaves("poison")
async def send_poison(exchange: Exchange) -> None:
    """`poison:nul|surrogate|number|huge`: values in the answer that databases choke on."""
    kind, answer = exchange.asked.word(0, "nul"), exchange.answer
    if kind == "nul":
        answer.words, answer.id, answer.finish_reason = [NUL_TEXT], "id\x00", "st\x00op"
    elif kind == "surrogate":
        answer.words, answer.id, answer.finish_reason = [LONE_SURROGATE], "id\ud800", "st\ud800op"
    elif kind == "huge":
        answer.words, answer.id, answer.finish_reason = ["y" * MEGABYTE], "i" * MEGABYTE, "s" * MEGABYTE
    if kind != "number":
        answer.usage = usage_of(answer.prompt_tokens, len(answer.words))
        await exchange.send_answer()
        return
    odd = {"prompt_tokens": 1e999, "completion_tokens": -5, "total_tokens": "many"}
    raw = dump(answer.body() | {"usage": odd}).replace(b"Infinity", b"1e999")
    if exchange.asked.stream:
        chunk = sse(answer.chunk([]) | {"usage": odd}).replace(b"Infinity", b"1e999")
        await exchange.stream(
            [*[event for event in answer.events() if event.usage is None][:-1], Event(chunk), Event(DONE)]
        )
    else:
        await exchange.reply(200, raw, end="complete")

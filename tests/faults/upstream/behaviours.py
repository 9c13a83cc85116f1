"""every behaviour by name: honest answers, silence, broken connections and refusals."""

from tests.faults.upstream import bent
from tests.faults.upstream.answer import WORDS, Event
from tests.faults.upstream.exchange import Exchange
from tests.faults.upstream.registry import BEHAVIOURS, behaves

__all__ = ["BEHAVIOURS", "bent"]


@behaves("ok")
async def answer_honestly(exchange: Exchange) -> None:
    """`ok[:words]`: a sound answer."""
    grow(exchange, int(exchange.asked.number(0, 0)))
    await exchange.send_answer()


@behaves("echo")
async def answer_echo(exchange: Exchange) -> None:
    """The prompt itself, word by word."""
    exchange.answer.words = [word + " " for word in exchange.asked.prompt.split(" ")]
    exchange.answer.usage["completion_tokens"] = len(exchange.answer.words)
    exchange.answer.usage["total_tokens"] = exchange.answer.prompt_tokens + len(exchange.answer.words)
    await exchange.send_answer()


@behaves("slow-first-byte")
async def answer_late(exchange: Exchange) -> None:
    """`slow-first-byte[:ms]`: silence, then a sound answer."""
    await exchange.pause(exchange.asked.number(0, 2000) / 1000)
    await exchange.send_answer()


@behaves("slow-stream")
async def answer_slowly(exchange: Exchange) -> None:
    """`slow-stream[:chunks[:total_ms]]`: one word at a time; whole answers just take that long."""
    chunks, seconds = int(exchange.asked.number(0, 100)), exchange.asked.number(1, 20_000) / 1000
    grow(exchange, chunks)
    if not exchange.asked.stream:
        await exchange.pause(seconds)
        await exchange.send_answer()
        return
    await exchange.open_stream()
    for event in exchange.answer.events():
        await exchange.send_event(event)
        if event.text:
            await exchange.pause(seconds / chunks)
    await exchange.finish()


@behaves("accept-never-answer")
async def never_answer(exchange: Exchange) -> None:
    """Reads the request and stays silent."""
    await exchange.wait_until_gone()


@behaves("accept-then-reset")
async def reset_at_once(exchange: Exchange) -> None:
    """`accept-then-reset[:ms]`: reads the request, then resets the connection."""
    await exchange.pause(exchange.asked.number(0, 1) / 1000)
    await exchange.reset()


@behaves("headers-only")
async def send_headers_only(exchange: Exchange) -> None:
    """A head with status 200, then silence."""
    await exchange.open_stream("text/event-stream" if exchange.asked.stream else "application/json")
    await exchange.wait_until_gone()


@behaves("stall-after-n")
async def stall(exchange: Exchange) -> None:
    """`stall-after-n[:events]`: a few events, then silence."""
    await exchange.open_stream()
    for event in exchange.answer.events()[: int(exchange.asked.number(0, 3))]:
        await exchange.send_event(event)
    await exchange.wait_until_gone()


@behaves("die-at-byte-n")
async def die_at_byte(exchange: Exchange) -> None:
    """`die-at-byte-n:bytes[:clean]`: cut after n body bytes; `clean` ends the truncated stream as if it were whole."""
    whole = await send_until_byte(exchange, int(exchange.asked.number(0, 0)))
    clean = exchange.asked.stream and exchange.asked.word(1, "") == "clean"
    end = "complete" if whole else "died"
    await (exchange.finish(end) if clean else exchange.die(end))


@behaves("rst-at-byte-n")
async def reset_at_byte(exchange: Exchange) -> None:
    """`rst-at-byte-n:bytes`: like die-at-byte-n with a reset."""
    await send_until_byte(exchange, int(exchange.asked.number(0, 0)))
    await exchange.reset()


async def send_until_byte(exchange: Exchange, left: int) -> bool:
    """Send the first `left` bytes of the honest answer; true when that is all of it."""
    if not exchange.asked.stream:
        return await send_body_until_byte(exchange, left)
    await exchange.open_stream()
    for event in exchange.answer.events():
        if len(event.raw) > left:
            await send_part(exchange, event, left)
            return False
        await exchange.send_event(event)
        left -= len(event.raw)
    return True


async def send_part(exchange: Exchange, event: Event, left: int) -> None:
    """Send the head of an event, if any of it is due."""
    if left:
        await exchange.send(event.raw[:left])


async def send_body_until_byte(exchange: Exchange, left: int) -> bool:
    """The same for a whole answer, whose head promises all bytes."""
    body = exchange.answer.body()
    raw = bent.dump(body)
    await exchange.start_body(len(raw))
    await exchange.send_raw(raw[:left])
    if left >= len(raw):
        exchange.note(Event(b"", exchange.answer.content, body["usage"]))
    return left >= len(raw)


@behaves("status")
async def answer_status(exchange: Exchange) -> None:
    """`status:503`: always this status."""
    await exchange.refuse(int(exchange.asked.number(0, 503)), "refused by the script")


@behaves("400")
async def answer_400(exchange: Exchange) -> None:
    """A refusal that no retry can cure."""
    await exchange.refuse(400, "Invalid value for 'temperature'")


@behaves("401")
async def answer_401(exchange: Exchange) -> None:
    """Bad credentials."""
    await exchange.refuse(401, "Incorrect API key provided")


@behaves("429-with-retry-after")
async def answer_429(exchange: Exchange) -> None:
    """`429-with-retry-after[:seconds]`: always over the limit."""
    await exchange.refuse(429, "Rate limit reached", {"retry-after": exchange.asked.word(0, "1")})


@behaves("429-with-retry-after-ms")
async def answer_429_ms(exchange: Exchange) -> None:
    """`429-with-retry-after-ms[:ms]`: the same with OpenAI's finer header."""
    await exchange.refuse(429, "Rate limit reached", {"retry-after-ms": exchange.asked.word(0, "50")})


@behaves("500-then-ok")
async def answer_500_then_ok(exchange: Exchange) -> None:
    """`500-then-ok[:n]`: the first n attempts of a marker fail, later ones succeed."""
    if exchange.acceptance.ordinal <= int(exchange.asked.number(0, 1)):
        await exchange.refuse(500, "The server had an error")
    else:
        await exchange.send_answer()


def grow(exchange: Exchange, words: int) -> None:
    """Give the answer exactly `words` words (0: keep what the seed decided)."""
    if words:
        answer = exchange.answer
        answer.words = [
            WORDS[(position * 7 + len(exchange.asked.seed)) % len(WORDS)] + " " for position in range(words)
        ]
        answer.usage = answer.usage | {"completion_tokens": words, "total_tokens": answer.prompt_tokens + words}

"""What the ledger learns from each chunk that passes, and how an entry ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from backend.call import Call, Chunk, Entry
from backend.errors import GatewayError
from backend.gateway.bill import estimate_delivered
from backend.pricing.usage import follow_usage, read_usage
from backend.upstream.estimate import visible_text

if TYPE_CHECKING:
    from backend.gateway.bill import Bill

_NULL_USAGE = (b',"usage":null', b', "usage": null')
"""What asking for usage adds to every chunk; taken out again when the client did not ask."""


def observe(entry: Entry, call: Call, chunk: Chunk) -> None:
    """Read usage, finish reason and time from a chunk; hide what only we asked for."""
    now, event = time.perf_counter(), chunk.event
    if entry.first_chunk is None:
        entry.first_chunk = now
    entry.last_chunk = now
    usage = event.get("usage")
    if usage:
        entry.usage_read = follow_usage(entry.usage_read, read_usage(usage))
        tier = event.get("service_tier")
        entry.service_tier = tier if isinstance(tier, str) and tier else entry.service_tier
    choices = event.get("choices")
    for choice in choices or ():
        if choice.get("finish_reason"):
            entry.finish_reason = str(choice["finish_reason"])[:64]
    if not call.stream:
        entry.answer = event
        entry.delivered_tokens = 0 if usage else visible_text(event)
        return
    if not call.wants_usage:
        _hide_usage(chunk, usage, choices)
    entry.delivered_tokens += visible_text(event)
    if entry.fold is not None:
        _fold(entry, event, len(chunk.data))


def _fold(entry: Entry, event: dict[str, Any], size: int) -> None:
    """Gather the answer for the cache; an event it cannot make sense of only costs the copy."""
    try:
        if entry.fold is not None:
            entry.fold.add(event, size)
    except (TypeError, ValueError, AttributeError):
        entry.fold = None
        entry.note("cache: the answer could not be gathered")


def _hide_usage(chunk: Chunk, usage: object, choices: object) -> None:
    if usage and not choices:
        chunk.shown = False
    elif usage is None and "usage" in chunk.event:
        for text in _NULL_USAGE:
            chunk.data = chunk.data.replace(text, b"")


def end_well(entry: Entry, call: Call) -> None:
    """The whole answer was delivered; what it cost is unknown where its usage made no sense."""
    entry.status, entry.http_status, entry.state = "ok", 200, "settled"
    if entry.usage_read is None:
        entry.usage_read = estimate_delivered(entry, call)
        entry.state = "estimated"
    elif entry.usage_read.source == "unknown" and entry.tries:
        entry.state = "unknown"


def end_badly(entry: Entry, error: GatewayError) -> None:
    """The call ended with an error that the caller was shown."""
    upstream = bool(entry.tries) or error.type == "upstream_error"
    entry.status = "failed" if upstream or error.status >= 500 else "refused"
    entry.error_code, entry.http_status = error.code, error.status


def settle(entry: Entry, call: Call | None, bill: Bill) -> None:
    """Close the books of an entry, whatever happened: its state, its times, its money."""
    now = time.perf_counter()
    entry.latency_ms = (now - entry.clock) * 1000.0
    _set_times(entry)
    if entry.state == "open":
        _settle_unfinished(entry, call)
    bill.settle(entry)
    if entry.cost_nusd is None and not entry.tries:
        entry.cost_nusd = 0  # nothing was sent, so nothing was billed
    for attempt in entry.tries:
        if attempt.state in ("open", "settled") and attempt is entry.tries[-1]:
            attempt.state = entry.state


def _settle_unfinished(entry: Entry, call: Call | None) -> None:
    """Refused, failed or cut off: settled when usage came, estimated when words were delivered, unknown in between."""
    last = entry.tries[-1] if entry.tries else None
    if last is None or call is None:
        entry.state = "failed"
    elif entry.usage_read is not None and entry.usage_read.source == "provider":
        entry.state = "settled"
    elif entry.delivered_tokens or last.state == "open":
        entry.usage_read = estimate_delivered(entry, call)
        entry.state = "estimated"
        last.state = "estimated"
    elif any(attempt.state == "unknown" for attempt in entry.tries):
        entry.state = "unknown"
    else:
        entry.state = "failed"
        entry.cost_nusd = 0


def _set_times(entry: Entry) -> None:
    if entry.first_chunk is not None and entry.last_chunk is not None:
        entry.ttft_ms = (entry.first_chunk - entry.clock) * 1000.0
        completion = entry.usage_read.completion_tokens if entry.usage_read else None
        if entry.stream and completion is not None and completion > 1:
            entry.itl_ms = (entry.last_chunk - entry.first_chunk) * 1000.0 / (completion - 1)
    latency_ms = entry.latency_ms or 0.0
    waited_ms = (entry.upstream_s + entry.client_s) * 1000.0 + (entry.queue_ms or 0.0)
    entry.overhead_ms = max(latency_ms - waited_ms, 0.0)

"""What a spool record says: written with one JSON dump on the hot path, read back by the drainer.

A segment's head names the columns, so that a newer drainer reads older segments. Then come JSON arrays
``[kind, call values | null, [attempt values, …]]``, captured bodies as bytes, and labels as JSON objects.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from backend.call import Attempt, Entry
from db.cache_labels import Label
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS

FORMAT = 1
OPEN, ATTEMPT, CLOSE = 0, 1, 2
INT64 = (-(2**63), 2**63 - 1)

_DEEPEST = 100
PROBE = b" " * 4096
"""A record that says nothing: written to find out whether the disk takes records again."""

_OPENING = b'[0,["'
_ID_END = len(_OPENING) + 36
_BODIES = b"P"
_LABEL = b"L"
_LABEL_FIELDS = frozenset(field.name for field in fields(Label))
_PAYLOAD = struct.Struct("<c36sqI")


class UnreadableRecord(ValueError):
    """The content is no record of a format known here."""


@dataclass(slots=True, frozen=True)
class Layout:
    """In which order a segment's values stand: for each of our columns its index there, or none."""

    call: tuple[int | None, ...] | None = None
    attempt: tuple[int | None, ...] | None = None


@dataclass(slots=True)
class Record:
    """A decoded record in our column order."""

    kind: int
    call: list[Any] | None
    attempts: Sequence[list[Any]]


@dataclass(slots=True)
class Payload:
    """Captured bodies of one call, not yet redacted."""

    call_id: str
    request: bytes
    response: bytes
    captured_at: int


def call_values(e: Entry) -> tuple[Any, ...]:
    """An entry's values in the order of ``CALL_COLUMNS``; written out, they are read ten times faster."""
    # fmt: off
    return (
        e.id, e.state, e.worker, e.session_id, e.trace_id, e.idempotency_key, e.endpoint, e.stream, e.origin,
        e.tenant, e.key_id, e.user, e.feature, e.department, e.environment, e.tags, e.model, e.deployment, e.provider,
        e.served_model, e.prompt_tokens, e.cached_tokens, e.cache_write_tokens, e.cache_write_1h_tokens,
        e.completion_tokens, e.reasoning_tokens, e.usage_source, e.usage, e.cost_nusd, e.price_id, e.baseline_nusd,
        e.saved_nusd, e.saved_cache_nusd, e.saved_routing_nusd, e.saved_compression_nusd, e.saved_prefix_nusd,
        e.saved_batch_nusd, e.started_at, e.ttft_ms, e.itl_ms, e.latency_ms, e.queue_ms, e.overhead_ms, e.embed_ms,
        e.cache_kind, e.similarity, e.similarity_threshold, e.cache_probability, e.source_call_id,
        e.settings_version, e.rule, e.route_reason, e.complexity, e.propensity, e.candidates, e.experiment_id,
        e.variant_id, e.prompt_version, e.compressed_tokens, e.status, e.error_code, e.http_status, e.finish_reason,
        e.attempts, e.notes,
    )
    # fmt: on


def attempt_values(a: Attempt) -> tuple[Any, ...]:
    """An attempt's values in the order of ``ATTEMPT_COLUMNS``."""
    # fmt: off
    return (
        a.call_id, a.number, a.state, a.worker, a.deployment, a.provider, a.model, a.started_at, a.ttft_ms,
        a.latency_ms, a.http_status, a.error_code, a.upstream_id, a.price_id, a.reserved_nusd, a.cost_nusd,
    )
    # fmt: on


def encode_head(worker: str) -> bytes:
    """The first record of a segment."""
    head = {"format": FORMAT, "worker": worker, "calls": CALL_COLUMNS, "attempts": ATTEMPT_COLUMNS}
    return orjson.dumps(head)


def encode_dispatch(entry: Entry, attempt: Attempt) -> bytes:
    """The record made durable before anything goes upstream; the call's own row only the first time."""
    tries = (attempt_values(attempt),)
    if entry.dispatched:
        return _dump((ATTEMPT, None, tries))
    return _dump((OPEN, call_values(entry), tries))


def encode_close(entry: Entry) -> bytes:
    """The final record of a call with all its attempts."""
    return _dump((CLOSE, call_values(entry), [attempt_values(each) for each in entry.tries]))


def encode_payload(entry: Entry, most_bytes: int) -> bytes:
    """The captured bodies, cut at ``most_bytes`` each."""
    request, response = (body[:most_bytes] for body in entry.payload or (b"", b""))
    return _PAYLOAD.pack(_BODIES, entry.id.encode(), entry.started_at, len(request)) + request + response


def encode_label(label: Label) -> bytes:
    """A verdict on a semantic hit; its names are in it, so that any version reads it."""
    return _LABEL + _dump(asdict(label))


def decode_head(content: bytes) -> Layout:
    """The layout of a segment. Raises ``UnreadableRecord`` for a format newer than this code."""
    head = _load(content)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UnreadableRecord("not a segment head of a known format")
    return Layout(_mapping(CALL_COLUMNS, head.get("calls")), _mapping(ATTEMPT_COLUMNS, head.get("attempts")))


def decode(content: bytes, layout: Layout) -> Record | Payload | Label:
    """What a record says. Raises ``UnreadableRecord``."""
    if content[:1] == _BODIES:
        return _decode_payload(content)
    if content[:1] == _LABEL:
        return _decode_label(content)
    try:
        kind, call, attempts = orjson.loads(content)
        if layout.call is not None and call is not None:
            call = _arrange(call, layout.call)
        if layout.attempt is not None:
            attempts = [_arrange(each, layout.attempt) for each in attempts]
        return Record(kind, call, attempts)
    except (ValueError, TypeError, IndexError) as error:
        raise UnreadableRecord(f"not a record: {type(error).__name__}") from error


def opened_id(content: bytes, layout: Layout) -> str | None:
    """Id of the call that an opening record is about, without decoding it; none for any other record."""
    if layout.call is None and content.startswith(_OPENING) and content[_ID_END : _ID_END + 1] == b'"':
        return content[len(_OPENING) : _ID_END].decode(errors="replace")
    return None


def _decode_payload(content: bytes) -> Payload:
    try:
        _, call_id, captured_at, size = _PAYLOAD.unpack_from(content)
        middle = _PAYLOAD.size + size
        return Payload(call_id.decode(), content[_PAYLOAD.size : middle], content[middle:], captured_at)
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableRecord("not a payload record") from error


def _decode_label(content: bytes) -> Label:
    try:
        said = orjson.loads(content[len(_LABEL) :])
        return Label(**{name: value for name, value in said.items() if name in _LABEL_FIELDS})
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRecord("not a label record") from error


def _arrange(values: list[Any], order: tuple[int | None, ...]) -> list[Any]:
    return [None if index is None else values[index] for index in order]


def _mapping(ours: Sequence[str], theirs: Sequence[str] | None) -> tuple[int | None, ...] | None:
    if theirs is None or list(theirs) == list(ours):
        return None
    places = {name: index for index, name in enumerate(theirs)}
    return tuple(places.get(name) for name in ours)


def _load(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError as error:
        raise UnreadableRecord("not JSON") from error


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except (
        TypeError,
        RecursionError,
    ):  # a lone surrogate or a number beyond 64 bits: rare, so the fast way is tried first
        return orjson.dumps(tame(value), default=repr)


def tame(value: Any, depth: int = 0) -> Any:
    """The same value in what JSON can carry: surrogates spelled out, numbers beyond 64 bits as text, depths cut off."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not INT64[0] <= value <= INT64[1]:
        return str(value)
    if isinstance(value, dict | list | tuple) and depth > _DEEPEST:
        return f"(deeper than {_DEEPEST} levels)"
    if isinstance(value, dict):
        return {tame(str(key)): tame(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [tame(each, depth + 1) for each in value]
    return value

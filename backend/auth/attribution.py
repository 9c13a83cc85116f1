"""Whom a call is for: the key's word first, then the caller's own labels, bounded and cleaned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from backend.call import Identity

FIELDS = ("user", "feature", "department", "environment")
VALUE_LENGTH = 256
NAME_LENGTH = 64
MOST_TAGS = 32
MOST_READ = 256
"""Entries of one metadata object or tag list that are looked at."""

_STARTS = frozenset({b"x-go", b"x-li", b"x-po", b"x-se", b"heli", b"trac"})
"""First four bytes of every header that is read here: one look per header for calls that carry none."""

_HEADERS = (
    (b"x-governor-user", "user"),
    (b"x-governor-feature", "feature"),
    (b"x-governor-department", "department"),
    (b"x-governor-environment", "environment"),
    (b"x-governor-session-id", "session_id"),
    (b"x-governor-trace-id", "trace_id"),
    (b"x-litellm-end-user-id", "user"),
    (b"x-litellm-customer-id", "user"),
    (b"x-litellm-session-id", "session_id"),
    (b"x-litellm-trace-id", "trace_id"),
    (b"helicone-user-id", "user"),
    (b"helicone-session-id", "session_id"),
    (b"x-session-id", "session_id"),
)
"""Headers that name one field; of two for the same field the earlier wins."""

_NOT_LABELS = frozenset({b"x-governor-deployment", b"x-governor-latency-budget-ms", b"x-governor-hops"})
_MOST_KEPT = 64

_KNOWN = {name: name for name in (*FIELDS, "session_id", "trace_id")} | {
    "_user": "user",
    "user_id": "user",
    "session": "session_id",
    "trace": "trace_id",
}
"""Names inside metadata and properties that are fields; every other one is a tag."""

_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, text-direction overrides, halves of surrogate pairs."""

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Attribution:
    """Whom a call counts for. What the key sets is trusted; tags named ``caller_*`` are what was said instead."""

    user: str | None = None
    feature: str | None = None
    department: str | None = None
    environment: str | None = None
    tags: dict[str, str] | None = None
    session_id: str | None = None
    trace_id: str | None = None


@dataclass(slots=True)
class _Said:
    """What the caller said; the first word on a field or tag stays."""

    fields: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def note_field(self, name: str, value: object) -> None:
        text = clean(value)
        if text:
            self.fields.setdefault(name, text)

    def note_tag(self, name: str, value: object) -> None:
        label, text = clean(name, NAME_LENGTH), clean(value)
        if label and text and len(self.tags) < MOST_TAGS:
            self.tags.setdefault(label, text)

    def note(self, name: str, value: object) -> None:
        known = _KNOWN.get(name.lower().replace("-", "_"))
        if known:
            self.note_field(known, value)
        else:
            self.note_tag(name, value)


def read_attribution(identity: Identity, headers: Mapping[bytes, bytes], body: Mapping[str, Any]) -> Attribution:
    """Whom the call is for, from its key, headers (lower-case names) and body; whatever they hold, it never raises."""
    found = [name for name in headers if name[:4] in _STARTS]
    metadata, user = body.get("metadata"), body.get("user") or body.get("safety_identifier")
    if not (found or metadata or user):
        return _take_own(identity.attribution)
    said = _Said()
    if found:
        _read_headers(said, headers, found)
    if user:
        said.note_field("user", user)
    if isinstance(metadata, dict):
        _read_metadata(said, metadata)
    return _settle(identity.attribution, said)


def keep_labels(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The headers that say whom a call is for, to be said again by calls made later."""
    wanted = (name for name in headers if name[:4] in _STARTS and name not in _NOT_LABELS)
    return {name.decode("latin-1"): headers[name][:8192].decode("latin-1") for name in islice(wanted, _MOST_KEPT)}


def clean(value: object, length: int = VALUE_LENGTH) -> str | None:
    """One line of at most ``length`` characters out of text, bytes or a number; None for nothing or anything else."""
    if isinstance(value, bytes):
        value = value[: 4 * length].decode(errors="replace")
    elif isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, float):
        value = repr(value)
    elif isinstance(value, int):
        value = str(value) if abs(value) < 10**18 else None
    if not isinstance(value, str):
        return None
    text = value[:length]
    if not text.isprintable():
        text = _UNWANTED.sub("", text)
    return text.strip() or None


def _read_headers(said: _Said, headers: Mapping[bytes, bytes], found: Iterable[bytes]) -> None:
    for name, attribute in _HEADERS:
        if name in headers:
            said.note_field(attribute, headers[name])
    trace = _TRACEPARENT.match(headers.get(b"traceparent", b""))
    if trace:
        said.note_field("trace_id", trace[1])
    for name in found:
        if name.startswith(b"x-governor-tag-"):
            said.note_tag(name[15:].decode(errors="replace"), headers[name])
    _read_metadata(said, _parse(headers.get(b"x-portkey-metadata", b"{}")))
    _read_tags(said, headers.get(b"x-litellm-tags", b"")[:8192].decode(errors="replace").split(","))
    for name in found:
        if name.startswith(b"helicone-property-"):
            said.note(name[18:].decode(errors="replace"), headers[name])


def _read_metadata(said: _Said, metadata: Mapping[str, Any]) -> None:
    for name, value in islice(metadata.items(), MOST_READ):
        if name == "tags" and isinstance(value, list):
            _read_tags(said, value)
        else:
            said.note(name, value)


def _read_tags(said: _Said, tags: Iterable[object]) -> None:
    """Labels as LiteLLM has them: ``team:search`` is a name with a value, ``beta`` alone is true."""
    for tag in islice(tags, MOST_READ):
        name, _, value = tag.strip().partition(":") if isinstance(tag, str) else ("", "", "")
        if name:
            said.note_tag(name, value or "true")


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(raw)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _take_own(own: Mapping[str, str]) -> Attribution:
    if not own:
        return Attribution()
    tags = {name: value for name, value in own.items() if name not in FIELDS}
    fields = {name: own[name] for name in FIELDS if name in own}
    return Attribution(**fields, tags=tags or None)


def _settle(own: Mapping[str, str], said: _Said) -> Attribution:
    """The key's word wins on every field and tag it sets; what the caller said there is kept as ``caller_<name>``."""
    contradicted, tags = dict[str, str](), dict[str, str]()
    for name, value in own.items():
        other = (said.fields if name in FIELDS else said.tags).pop(name, value)
        if other != value:
            contradicted[f"caller_{name}"] = other
        if name not in FIELDS:
            tags[name] = value
    for name, value in (contradicted | said.tags).items():
        if len(tags) < MOST_TAGS:
            tags.setdefault(name, value)
    fields = said.fields | {name: own[name] for name in FIELDS if name in own}
    return Attribution(**fields, tags=tags or None)

"""One call in full: what was decided and why, what each try did, where the time and the money went, its bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from backend.pricing.cost import cost_of
from backend.pricing.prices import Price, read_row
from backend.pricing.usage import Usage, read_usage
from backend.reports.decision_trace import Step, trace_of
from backend.reports.ledger import Ledger
from backend.reports.names import read_names
from db.bounded import Connection, RowMapping
from db.call_reads import read_attempts, read_call, read_payload
from db.prices import read_price
from db.settings import SettingsLine, read_version

JSON_COLUMNS = ("tags", "usage", "candidates", "notes")
_UNSHOWABLE = "\N{REPLACEMENT CHARACTER}"

MOST_BODY = 1_000_000
"""Characters of a body that are shown."""


@dataclass(frozen=True, slots=True)
class CostPart:
    """One bucket of the cost: tokens at a rate (nano-dollars per million), and what that makes, unrounded."""

    bucket: str
    tokens: int
    rate_nusd_per_mtok: int | None
    nusd: Fraction | None


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """How the recorded cost comes about; ``explained`` says whether the parts round to exactly that."""

    parts: tuple[CostPart, ...]
    per_call_nusd: int
    total_nusd: int | None
    """As recorded; none when unknown."""
    explained: bool
    price: Price | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went (milliseconds, none when unknown): ours, waiting, until the first token, streaming."""

    overhead_ms: float | None
    queue_ms: float | None
    embed_ms: float | None
    ttft_ms: float | None
    stream_ms: float | None
    upstream_ms: float | None
    itl_ms: float | None
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Body:
    """A captured body as text, to be shown as text and never as markup."""

    text: str
    bytes: int
    cut: bool


@dataclass(frozen=True, slots=True)
class CallDetail:
    """One call; ``columns`` are those of ``calls`` with JSON read, ``attempts`` those of ``attempts``."""

    id: str
    columns: Mapping[str, Any]
    key: str | None
    attempts: tuple[Mapping[str, Any], ...]
    trace: tuple[Step, ...]
    timing: Timing
    cost: CostBreakdown
    request: Body | None
    response: Body | None
    settings: SettingsLine | None
    source: Mapping[str, Any] | None
    """The call whose stored answer this one replayed, if it is still there."""

    @property
    def simulated(self) -> bool:
        """Whether the simulated provider answered."""
        return bool(self.columns["provider"] == "simulated")


def read_call_detail(ledger: Ledger, call_id: str) -> CallDetail | None:
    """One call by its id; none when the ledger has no such call."""
    with ledger.read() as connection:
        row = read_call(connection, call_id)
        if row is None:
            return None
        return _assemble(connection, {name: _parsed(name, value) for name, value in row.items()})


def _assemble(connection: Connection, columns: Mapping[str, Any]) -> CallDetail:
    attempts = tuple(dict(row) for row in read_attempts(connection, columns["id"]))
    key = read_names(connection).get(columns["key_id"], columns["key_id"]) if columns["key_id"] else None
    source_id, version = columns["source_call_id"], columns["settings_version"]
    source = read_call(connection, source_id) if source_id else None
    request, response = _bodies(read_payload(connection, columns["id"]))
    return CallDetail(
        id=columns["id"],
        columns=columns,
        key=key,
        attempts=attempts,
        trace=trace_of(columns, attempts, key),
        timing=_timing(columns, attempts),
        cost=_explain(connection, columns),
        request=request,
        response=response,
        settings=read_version(connection, version) if version is not None else None,
        source=dict(source) if source else None,
    )


def _explain(connection: Connection, columns: Mapping[str, Any]) -> CostBreakdown:
    total, price = columns["cost_nusd"], _price(connection, columns["price_id"])
    if total == 0 and not columns["attempts"]:
        return CostBreakdown((), 0, 0, explained=True, price=price, notes=())
    cost = cost_of(_usage(columns), price)
    parts = tuple(CostPart(line.bucket, line.tokens, line.rate_nusd_per_mtok, line.nusd) for line in cost.lines)
    return CostBreakdown(parts, cost.per_call_nusd, total, cost.total_nusd == total, price, cost.notes)


def _price(connection: Connection, price_id: str | None) -> Price | None:
    row = read_price(connection, price_id) if price_id else None
    return read_row(row) if row else None


def _usage(columns: Mapping[str, Any]) -> Usage:
    """The provider's usage as billed; our own estimate where it reported none."""
    if columns["usage_source"] == "provider" and isinstance(columns["usage"], dict):
        return read_usage(columns["usage"])
    names = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens")
    more = ("completion_tokens", "reasoning_tokens")
    return Usage(**{name: columns[name] for name in (*names, *more)}, source=columns["usage_source"] or "unknown")


def _timing(columns: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]) -> Timing:
    ttft_ms, latency_ms = columns["ttft_ms"], columns["latency_ms"]
    known = [each["latency_ms"] for each in attempts if each["latency_ms"] is not None]
    return Timing(
        columns["overhead_ms"],
        columns["queue_ms"],
        columns["embed_ms"],
        ttft_ms,
        latency_ms - ttft_ms if latency_ms is not None and ttft_ms is not None else None,
        sum(known) if known else None,
        columns["itl_ms"],
        latency_ms,
    )


def _bodies(row: RowMapping | None) -> tuple[Body | None, Body | None]:
    if row is None:
        return None, None
    return _body(row["request"], cut=row["truncated"]), _body(row["response"], cut=row["truncated"])


def _body(data: bytes | None, *, cut: bool) -> Body | None:
    """Bytes as text that can be shown: indented if it is JSON, bytes that are no text and control signs replaced."""
    if data is None:
        return None
    text = _indented(data) or data.decode(errors="replace")
    shown = "".join(sign if sign.isprintable() or sign in "\n\t" else _UNSHOWABLE for sign in text[:MOST_BODY])
    return Body(shown, len(data), cut or len(text) > MOST_BODY)


def _indented(data: bytes) -> str | None:
    try:
        return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _parsed(name: str, value: Any) -> Any:
    if name not in JSON_COLUMNS or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value

"""The list of calls: pages by keyset, a count that says how exact it is, the strip of bars above the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.names import name_of, read_names
from backend.reports.overview import LONGEST_BY_CALL_MS
from backend.reports.percentiles import percentiles_of
from db.bounded import Connection
from db.call_reads import LISTED, PageRequest, Position, count_calls, count_open, read_page
from db.rollup_reads import Grouping, Source, latency_source_of, read_latency, read_sums, source_of
from db.windows import Narrowing, Window

MOST_ROWS = 200
COUNTED_UP_TO = 10_000


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which calls: a scope, and conditions on single calls (text is an id: call, session, trace, idempotency key)."""

    scope: Scope
    text: str | None = None
    error_codes: tuple[str, ...] = ()
    min_cost_nusd: int | None = None
    min_latency_ms: float | None = None

    @property
    def window(self) -> Window:
        """The query as the database reads it."""
        text = (self.text or "").strip() or None
        narrowing = Narrowing(text, self.error_codes, self.min_cost_nusd, self.min_latency_ms)
        return Window(self.scope.start_at, self.scope.end_at, self.scope.filters, narrowing)


@dataclass(frozen=True, slots=True)
class CallPage:
    """Up to 200 calls, newest first, with ``key`` (its name) beside the columns; ``next`` continues after them."""

    frame: pd.DataFrame
    next: str | None


@dataclass(frozen=True, slots=True)
class CallCount:
    """How many calls match; when not ``exact``, at least that many."""

    calls: int
    exact: bool
    source: Source = field(default="calls")

    def __str__(self) -> str:
        return f"{self.calls:,}" if self.exact else f"{self.calls:,}+"


def read_calls(ledger: Ledger, query: CallQuery, after: str | None = None, limit: int = 50) -> CallPage:
    """The page after ``after`` (``CallPage.next`` of the page before). Raises ``ValueError`` on a bad position."""
    limit = max(1, min(limit, MOST_ROWS))
    with ledger.read() as connection:
        rows = read_page(connection, query.window, PageRequest(limit + 1, parse_position(after)))
        names = read_names(connection)
    shown = rows[:limit]
    frame = pd.DataFrame([dict(row) for row in shown], columns=list(LISTED))
    frame = frame.astype(dict.fromkeys(("cost_nusd", "saved_nusd", "http_status", "attempts"), "Int64"))
    frame = frame.astype(dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), "Int64"))
    frame = frame.astype(dict.fromkeys(("latency_ms", "ttft_ms"), "float64"))
    frame["key"] = [name_of("key_id", row["key_id"] or "", names) for row in shown]
    more = len(rows) > limit
    return CallPage(frame, write_position(Position(shown[-1]["started_at"], shown[-1]["id"])) if more else None)


def count_matching(ledger: Ledger, query: CallQuery) -> CallCount:
    """How many calls match, open ones included: exact where rollups know, else counted up to 10,000."""
    window = query.window
    with ledger.read() as connection:
        source = source_of(window, ())
        if source == "calls":
            found = count_calls(connection, window, COUNTED_UP_TO + 1)
            return CallCount(min(found, COUNTED_UP_TO), found <= COUNTED_UP_TO)
        closed = read_sums(connection, window, Grouping(measures=("calls",)))
        return CallCount(sum(row.measures["calls"] for row in closed) + count_open(connection, window), True, source)


def read_strip(ledger: Ledger, query: CallQuery) -> pd.DataFrame:
    """Bars above the list: ``at calls failed cost_nusd unpriced p95_ms`` per bucket, of the very calls listed."""
    scope, window = query.scope, query.window
    measures = ("calls", "failed", "cost_nusd", "unpriced")
    with ledger.read() as connection:
        rows = read_sums(connection, window, Grouping((), scope.bucket_ms, measures))
        slow = _read_p95(connection, window, scope.bucket_ms)
    sums = {row.at: row.measures for row in rows}
    empty = dict.fromkeys(measures, 0)
    lines = [{"at": at, **sums.get(at, empty), "p95_ms": slow.get(at)} for at in scope.buckets]
    return pd.DataFrame(lines, columns=["at", *measures, "p95_ms"]).astype({"p95_ms": "float64"})


def parse_position(text: str | None) -> Position | None:
    """A position out of a page's ``next``. Raises ``ValueError`` when it is none."""
    if not text:
        return None
    started_at, _, call_id = text.partition(".")
    if not call_id or not started_at.isdecimal():
        raise ValueError("not a position in the list of calls")
    return Position(int(started_at), call_id)


def write_position(position: Position) -> str:
    """A position as it stands in a URL."""
    return f"{position.started_at}.{position.id}"


def _read_p95(connection: Connection, window: Window, bucket_ms: int) -> dict[int | None, float | None]:
    """The 95th percentile per bucket, unless it would mean reading every call of a long range once more."""
    long = window.end_at - window.start_at > LONGEST_BY_CALL_MS
    if long and latency_source_of(window, ()) == "calls" and source_of(window, ()) != "calls":
        return {}
    rows = read_latency(connection, window, "latency_ms", Grouping(bucket_ms=bucket_ms))
    return {row.at: percentiles_of(row.counts).p95 for row in rows}


__all__: Sequence[str] = (
    "COUNTED_UP_TO",
    "MOST_ROWS",
    "CallCount",
    "CallPage",
    "CallQuery",
    "count_matching",
    "parse_position",
    "read_calls",
    "read_strip",
    "write_position",
)

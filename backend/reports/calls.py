"""The list of calls: pages by keyset, a count that says how exact it is, the strip of bars above the list."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.names import name_of, read_names
from backend.reports.overview import LONGEST_BY_CALL_MS
from backend.reports.percentiles import percentiles_of
from backend.reports.search import Patience, stretches
from db.bounded import Connection, RowMapping
from db.call_reads import LISTED, PageRequest, Position, count_calls, count_open, has_call, read_page
from db.rollup_reads import Grouping, Source, latency_source_of, read_latency, read_sums, source_of
from db.windows import DAY_MS, HOUR_MS, Narrowing, Window

MOST_ROWS = 200
COUNTED_UP_TO = 10_000

LEAST_OF_ID = 8
"""Characters of a call's id that are enough to look for it."""

_JOB_ID = re.compile(r"batch_[0-9a-f]{32}")
_BEFORE_ALL = ""  # no id is smaller: the position is the start of that millisecond


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which calls: a scope, and conditions on single calls.

    ``text`` is an id: of a call, a session, a trace or a batch job, or an idempotency key.
    """

    scope: Scope
    text: str | None = None
    error_codes: tuple[str, ...] = ()
    min_cost_nusd: int | None = None
    min_latency_ms: float | None = None

    def window(self, connection: Connection) -> Window:
        """The query as the database reads it; text is the beginning of a call's id if there is such a call."""
        text = (self.text or "").strip()
        job_id = text if _JOB_ID.fullmatch(text) else None
        by_id = text.lower() if len(text) >= LEAST_OF_ID and has_call(connection, text.lower()) else None
        other = None if by_id or job_id else text or None
        narrowing = Narrowing(by_id, other, job_id, self.error_codes, self.min_cost_nusd, self.min_latency_ms)
        window = Window(self.scope.start_at, self.scope.end_at, self.scope.filters, narrowing)
        return _around_job(window, job_id) if job_id else window


def _around_job(window: Window, job_id: str) -> Window:
    """The part of a window in which a batch job's calls can lie: its id begins with when it was made, it has a day."""
    made_at = int(job_id[6:18], 16)
    start_at = min(max(window.start_at, made_at - HOUR_MS), window.end_at)
    return window.between(start_at, max(start_at, min(window.end_at, made_at + DAY_MS + HOUR_MS)))


@dataclass(frozen=True, slots=True)
class CallPage:
    """Up to 200 calls, newest first, with ``key`` (its name) beside the columns; ``next`` continues after them."""

    frame: pd.DataFrame
    next: str | None
    searched_to_at: int | None = None
    """Set when the search was stopped for its length: older calls than this (epoch ms) were not looked at yet."""


@dataclass(frozen=True, slots=True)
class CallCount:
    """How many calls match; when not ``exact``, at least that many."""

    calls: int
    exact: bool
    source: Source = "calls"

    def __str__(self) -> str:
        return f"{self.calls:,}" if self.exact else f"{self.calls:,}+"


def read_calls(ledger: Ledger, query: CallQuery, after: str | None = None, limit: int = 50) -> CallPage:
    """The page after ``after`` (``CallPage.next`` of the page before). Raises ``ValueError`` on a bad position."""
    limit, position = max(1, min(limit, MOST_ROWS)), parse_position(after)
    with ledger.read() as connection:
        rows, stopped_at = _search(connection, query, PageRequest(limit + 1, position))
        names = read_names(connection)
    shown = rows[:limit]
    frame = _frame(shown)
    frame["key"] = [name_of("key_id", row["key_id"] or "", names) for row in shown]
    if len(rows) > limit:
        return CallPage(frame, write_position(Position(shown[-1]["started_at"], shown[-1]["id"])))
    return CallPage(frame, write_position(Position(stopped_at, _BEFORE_ALL)) if stopped_at else None, stopped_at)


def count_matching(ledger: Ledger, query: CallQuery) -> CallCount:
    """How many calls match, open ones included: exact where rollups know, else counted up to 10,000."""
    with ledger.read() as connection:
        window = query.window(connection)
        source = source_of(window, ())
        if source == "calls":
            return _count(connection, window)
        closed = read_sums(connection, window, Grouping(measures=("calls",)))
        return CallCount(sum(row.measures["calls"] for row in closed) + count_open(connection, window), True, source)


def _search(connection: Connection, query: CallQuery, wanted: PageRequest) -> tuple[list[RowMapping], int | None]:
    """Matching calls, and where the search was stopped if there may be more."""
    window, patience = query.window(connection), Patience()
    if wanted.after:
        window = window.between(window.start_at, min(window.end_at, wanted.after.started_at + 1))
    rows: list[RowMapping] = []
    for stretch in stretches(connection, window):
        rows += read_page(connection, stretch, replace(wanted, limit=wanted.limit - len(rows)))
        if len(rows) >= wanted.limit:
            break
        if patience.over and stretch.start_at > window.start_at:
            return rows, stretch.start_at
    return rows, None


def _count(connection: Connection, window: Window) -> CallCount:
    found, patience = 0, Patience()
    for stretch in stretches(connection, window):
        found += count_calls(connection, stretch, COUNTED_UP_TO + 1 - found)
        if found > COUNTED_UP_TO:
            return CallCount(COUNTED_UP_TO, exact=False)
        if patience.over and stretch.start_at > window.start_at:
            return CallCount(found, exact=False)
    return CallCount(found, exact=True)


def _frame(rows: list[RowMapping]) -> pd.DataFrame:
    frame = pd.DataFrame([dict(row) for row in rows], columns=list(LISTED))
    frame = frame.astype(dict.fromkeys(("cost_nusd", "saved_nusd", "http_status", "attempts"), "Int64"))
    frame = frame.astype(dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), "Int64"))
    return frame.astype(dict.fromkeys(("latency_ms", "ttft_ms"), "float64"))


def read_strip(ledger: Ledger, query: CallQuery) -> pd.DataFrame:
    """Bars above the list: ``at calls failed cost_nusd unpriced p95_ms`` per bucket, of the very calls listed."""
    scope, measures = query.scope, ("calls", "failed", "cost_nusd", "unpriced")
    with ledger.read() as connection:
        window = query.window(connection)
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
    if not started_at.isdecimal() or len(started_at) > 18:
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

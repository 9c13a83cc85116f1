"""the reconciler: an independent oracle over the three books; it shares no code with Governor."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction

from tests.faults.books import Account, Books, Discrepancy, Row

CLOSED = {"settled", "estimated", "failed", "unknown"}
TOKENS = ("prompt_tokens", "completion_tokens")
SUMS = ("cost_nusd", *TOKENS)
NANO_DOLLARS_PER_RATE = 1000  # dollars per million tokens to nano-dollars per token


def price_nusd(usage: Row, rates: dict[str, str]) -> int:
    """Price a usage object with rates in dollars per million tokens, rounded half to even once."""
    details = usage.get("prompt_tokens_details") or {}
    cached: int = usage.get("cached_tokens") or details.get("cached_tokens") or 0
    read_rate = rates.get("cache_read", rates["input"])
    cost: Fraction = (usage["prompt_tokens"] - cached) * Fraction(rates["input"]) + cached * Fraction(read_rate)
    cost += (usage.get("completion_tokens") or 0) * Fraction(rates["output"])
    return round(cost * NANO_DOLLARS_PER_RATE)


def reconcile(books: Books, rates: dict[str, str], now_ms: int = 0, deadline_ms: int = 0) -> list[Discrepancy]:
    """Compare the books; an empty list is balance. Rows may be open if younger than `deadline_ms` at `now_ms`."""
    found = [*find_duplicates(books), *find_open_rows(books.calls, now_ms - deadline_ms)]
    accounts = books.accounts()
    checks = (find_strangers, find_lost, find_attempt_gaps, find_false_answers, find_wrong_usage, find_free_tokens)
    for check in checks:
        found += [discrepancy for account in accounts for discrepancy in check(account)]
    found += [discrepancy for call in books.calls for discrepancy in find_wrong_cost(call, rates)]
    return found + list(find_wrong_totals(books))


def find_duplicates(books: Books) -> Iterator[Discrepancy]:
    """Two rows with one id, two attempts with one number, two calls for what one client sent once."""
    yield from _repeated("double_call", books.calls, lambda row: str(row["id"]))
    yield from _repeated("double_attempt", books.attempts, lambda row: f"{row['call_id']}#{row['number']}")
    with_id = [row for row in books.attempts if row.get("upstream_id")]
    known = {row["id"] for row in books.upstream}
    yield from _repeated(
        "double_attempt", [row for row in with_id if row["upstream_id"] in known], lambda row: str(row["upstream_id"])
    )
    for account in books.accounts():
        sent = max(1, sum(outcome.get("sends", 1) for outcome in account.outcomes))
        if len(account.calls) > sent:
            yield Discrepancy("double_call", account.marker, f"{len(account.calls)} rows, sent {sent} times")


def _repeated(kind: str, rows: list[Row], key: Callable[[Row], str]) -> Iterator[Discrepancy]:
    for value, times in Counter(map(key, rows)).items():
        if times > 1:
            yield Discrepancy(kind, value, f"{times} rows")


def find_open_rows(calls: list[Row], before_ms: int) -> Iterator[Discrepancy]:
    """Rows that should have been closed by now, and states nobody knows."""
    for call in calls:
        old = call["state"] == "open" and _epoch_ms(call["started_at"]) <= before_ms
        if old or call["state"] not in {"open", *CLOSED}:
            yield Discrepancy("open_row", call["id"], f"state {call['state']!r}, started at {call['started_at']}")


def _epoch_ms(moment: str | int) -> int:
    return moment if isinstance(moment, int) else round(datetime.fromisoformat(moment).timestamp() * 1000)


def find_strangers(account: Account) -> Iterator[Discrepancy]:
    """Ledger rows for calls that no client placed."""
    if account.calls and not account.outcomes:
        yield Discrepancy("stranger_call", account.marker, f"rows {_ids(account.calls)}, no client sent this")


def find_lost(account: Account) -> Iterator[Discrepancy]:
    """A call id or an answer the client holds, or a request the upstream took, without its row."""
    ids = {call["id"] for call in account.calls}
    for outcome in account.outcomes:
        if outcome.get("call_id") and outcome["call_id"] not in ids and not _refused_unrecorded(outcome):
            yield Discrepancy(
                "lost_call", account.marker, f"client holds call id {outcome['call_id']}, ledger has {ids}"
            )
    if account.succeeded and len(account.calls) < len(account.succeeded):
        yield Discrepancy("lost_call", account.marker, f"{len(account.succeeded)} answers, {len(account.calls)} rows")
    if account.acceptances and not account.calls:
        yield Discrepancy(
            "lost_call", account.marker, f"upstream accepted {_ids(account.acceptances)}, ledger has nothing"
        )


def _refused_unrecorded(outcome: Row) -> bool:
    """A refusal because the ledger is unavailable cannot be in the ledger."""
    return outcome.get("error_code") == "ledger_unavailable" and outcome.get("http_status") == 503


def find_attempt_gaps(account: Account) -> Iterator[Discrepancy]:
    """Acceptances and attempts must be the same in number; only an attempt that never arrived may have no partner.

    When the caller leaves while the request goes out, nobody can know whether it arrived: it is billed as estimated.
    """
    if not account.calls:
        return
    missing = len(account.acceptances) - len(account.attempts)
    if missing > 0:
        evidence = f"upstream accepted {_ids(account.acceptances)}, ledger has {len(account.attempts)} attempts"
        yield Discrepancy("lost_attempt", account.marker, evidence)
    hurried = sum(call["status"] == "cancelled" and call["state"] == "estimated" for call in account.calls)
    billed = sum(row["state"] in ("settled", "estimated") for row in account.attempts)
    if billed - hurried > len(account.acceptances):
        evidence = f"{billed} billed attempts, upstream accepted {len(account.acceptances)}"
        yield Discrepancy("phantom_attempt", account.marker, evidence)
    known = {row["id"] for row in account.acceptances}
    for row in account.attempts:
        if row.get("upstream_id") and row["upstream_id"].startswith("up-") and row["upstream_id"] not in known:
            yield Discrepancy("phantom_attempt", account.marker, f"attempt names unknown {row['upstream_id']}")
    yield from _find_wrong_counts(account)


def _find_wrong_counts(account: Account) -> Iterator[Discrepancy]:
    for call in account.calls:
        tries = sum(1 for row in account.attempts if row["call_id"] == call["id"])
        if call["state"] in CLOSED and call["attempts"] != tries:
            yield Discrepancy("wrong_attempts", call["id"], f"row says {call['attempts']}, {tries} attempt rows")


def find_false_answers(account: Account) -> Iterator[Discrepancy]:
    """An answer that looked whole to the client but was not, or that is not what the upstream said."""
    for outcome in account.succeeded:
        row = next((call for call in account.calls if call["id"] == outcome["call_id"]), None)
        if row and row["status"] != "ok":
            yield Discrepancy("wrong_status", account.marker, f"client got an answer, row says {row['status']!r}")
        if row and row.get("cache_kind") in ("exact", "coalesced", "semantic"):
            continue
        honest = account.last_honest
        if honest is None:
            ends = [row["end"] for row in account.acceptances]
            yield Discrepancy("false_success", account.marker, f"client took it for whole, upstream ended {ends}")
        elif honest["content_sha"] != outcome["content_sha"]:
            yield Discrepancy("wrong_content", account.marker, f"upstream {honest['id']} said something else")


def find_wrong_usage(account: Account) -> Iterator[Discrepancy]:
    """Usage of an answered call is what the upstream stated, in the row and at the client; else an estimate."""
    for call in account.calls:
        honest = account.last_honest
        answered = [outcome for outcome in account.succeeded if outcome["call_id"] == call["id"]]
        if honest is None or not answered or call.get("cache_kind") in ("exact", "coalesced", "semantic"):
            continue
        yield from _compare_usage(call, honest["stated"])
        shown = answered[0].get("usage")
        if shown and honest["stated"] and any(shown.get(name) != honest["stated"].get(name) for name in TOKENS):
            yield Discrepancy("wrong_usage", account.marker, f"client saw {shown}, upstream stated {honest['stated']}")


def find_free_tokens(account: Account) -> Iterator[Discrepancy]:
    """A call the client did not stay for is billed all the same: as stated, as estimated, or openly unknown."""
    produced = [acceptance for acceptance in account.acceptances if acceptance["billed"]]
    for call in account.calls:
        if account.succeeded or not produced or call["state"] == "open":
            continue
        if call["state"] == "failed":
            yield Discrepancy(
                "free_tokens", account.marker, f"upstream bills {produced[-1]['billed']}, row is 'failed'"
            )
        stated = [acceptance["stated"] for acceptance in produced if acceptance["stated"]]
        if call["state"] == "settled" and not any(_same_tokens(call, usage) for usage in stated):
            yield Discrepancy("wrong_usage", account.marker, f"row is settled, upstream stated {stated}")
        yield from _find_under_billed(call, account)


def _find_under_billed(call: Row, account: Account) -> Iterator[Discrepancy]:
    seen = max((outcome.get("words", 0) for outcome in account.outcomes), default=0)
    if call["state"] == "estimated" and (call["completion_tokens"] or 0) < seen:
        evidence = f"client saw {seen} words, row bills {call['completion_tokens']} tokens"
        yield Discrepancy("under_billed", account.marker, evidence)


def _same_tokens(call: Row, usage: Row) -> bool:
    return all((call[name] or 0) == (usage.get(name) or 0) for name in TOKENS)


def _compare_usage(call: Row, stated: Row | None) -> Iterator[Discrepancy]:
    expected = "settled" if stated else "estimated"
    if call["state"] != expected:
        yield Discrepancy("wrong_state", call["id"], f"answered with usage {stated}, row is {call['state']!r}")
    if stated is None:
        if call["usage_source"] != "estimated":
            yield Discrepancy("wrong_usage", call["id"], f"nothing stated, row says {call['usage_source']!r}")
        return
    for name in TOKENS:
        if (call[name] or 0) != (stated.get(name) or 0) or (call[name] is None and stated.get(name) is not None):
            yield Discrepancy(
                "wrong_usage", call["id"], f"{name}: upstream stated {stated.get(name)}, row {call[name]}"
            )
    cached = (stated.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    if (call.get("cached_tokens") or 0) != cached:
        yield Discrepancy("wrong_usage", call["id"], f"cached: upstream stated {cached}, row {call['cached_tokens']}")


def find_wrong_cost(call: Row, rates: dict[str, str]) -> Iterator[Discrepancy]:
    """Cost is exactly the price of the row's tokens; without tokens there is no cost to state."""
    if call["state"] == "open" or call.get("cache_kind") in ("exact", "coalesced", "semantic"):
        return
    if call["prompt_tokens"] is None:
        if call["cost_nusd"]:
            yield Discrepancy("wrong_cost", call["id"], f"{call['cost_nusd']} nano-dollars for unknown usage")
        return
    expected = price_nusd(call, rates)
    if call["cost_nusd"] != expected:
        yield Discrepancy("wrong_cost", call["id"], f"row {call['cost_nusd']}, usage is worth {expected} nano-dollars")


def find_wrong_totals(books: Books) -> Iterator[Discrepancy]:
    """The rollups must add up to the rows."""
    if books.totals is None:
        return
    closed = [call for call in books.calls if call["state"] != "open"]
    expected = {"calls": len(closed)} | {name: sum(call[name] or 0 for call in closed) for name in SUMS}
    for name, value in expected.items():
        if (books.totals.get(name) or 0) != value:
            yield Discrepancy("wrong_totals", name, f"rows add up to {value}, rollups say {books.totals.get(name)}")


def _ids(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]

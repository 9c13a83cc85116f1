"""the reconciler accepts honest books and catches every kind of falsified ones."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.books import Books, Row
from tests.faults.reconcile import price_nusd, reconcile

RATES = {"input": "0.15", "output": "0.60", "cache_read": "0.075"}
NOW_MS, DEADLINE_MS = 1_000_000, 60_000


def outcome(marker: str, **changes: Any) -> Row:
    usage = {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
    row = {"marker": marker, "end": "ok", "call_id": f"call-{marker}", "http_status": 200, "error_code": None}
    return row | {"usage": usage, "content_sha": "abc", "words": 3} | changes


def acceptance(marker: str, number: int = 1, **changes: Any) -> Row:
    usage = {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
    row = {"id": f"up-{marker}-{number}", "marker": marker, "ordinal": number, "end": "complete"}
    return row | {"stated": usage, "billed": usage, "content_sha": "abc", "words": 3} | changes


def call(marker: str, **changes: Any) -> Row:
    row = {
        "id": f"call-{marker}",
        "session_id": marker,
        "state": "settled",
        "status": "ok",
        "started_at": 0,
        "attempts": 1,
    }
    row |= {"attempts": 1, "usage_source": "provider"}
    tokens = {"prompt_tokens": 14, "completion_tokens": 3, "cached_tokens": None}
    return row | tokens | {"cost_nusd": 14 * 150 + 3 * 600, "cache_kind": "miss"} | changes


def attempt(marker: str, number: int = 1, **changes: Any) -> Row:
    row = {"call_id": f"call-{marker}", "number": number, "state": "settled"}
    return row | {"upstream_id": f"up-{marker}-{number}"} | changes


def balanced() -> Books:
    """A plain answer (a), a retried one (b), one the client left (c), a refused one (d), an unstated one (e)."""
    failed = {"prompt_tokens": None, "completion_tokens": None, "cost_nusd": None}
    estimated = {"state": "estimated", "usage_source": "estimated"}
    refused: Row = {"end": "refused", "stated": None, "billed": None}
    calls = [
        call("a"),
        call("b", attempts=2),
        call("c", status="cancelled", **estimated),
        call("d", state="failed", status="failed", **failed),
        call("e", **estimated),
    ]
    return Books(
        client=[
            outcome("a"),
            outcome("b"),
            outcome("c", end="left", usage=None, words=2),
            outcome("d", end="error", http_status=400, usage=None, words=0),
            outcome("e", usage=None),
        ],
        upstream=[
            acceptance("a"),
            acceptance("b", **refused),
            acceptance("b", 2),
            acceptance("c", end="peer_left", stated=None, billed={"prompt_tokens": 14, "completion_tokens": 3}),
            acceptance("d", **refused),
            acceptance("e", stated=None),
        ],
        calls=calls,
        attempts=[
            attempt("a"),
            attempt("b", state="failed"),
            attempt("b", 2),
            attempt("c", state="estimated"),
            attempt("d", state="failed"),
            attempt("e", state="estimated"),
        ],
        totals={"calls": 5, "cost_nusd": 4 * 3900, "prompt_tokens": 4 * 14, "completion_tokens": 4 * 3},
    )


def kinds(books: Books) -> set[str]:
    return {discrepancy.kind for discrepancy in reconcile(books, RATES, NOW_MS, DEADLINE_MS)}


def test_honest_books_balance() -> None:
    assert reconcile(balanced(), RATES, NOW_MS, DEADLINE_MS) == []


def drop(book: str, index: int) -> Callable[[Books], None]:
    return lambda books: getattr(books, book).pop(index)


def repeat(book: str, index: int, **changes: Any) -> Callable[[Books], None]:
    return lambda books: getattr(books, book).append(copy.deepcopy(getattr(books, book)[index]) | changes)


def change(book: str, index: int, **changes: Any) -> Callable[[Books], None]:
    return lambda books: getattr(books, book)[index].update(changes)


def total(**changes: int) -> Callable[[Books], None]:
    return lambda books: (books.totals or {}).update(changes)


FALSIFIED: dict[str, tuple[Callable[[Books], None], str]] = {
    "an answered call has no row": (drop("calls", 0), "lost_call"),
    "a call the client left has no row": (drop("calls", 2), "lost_call"),
    "the row has another id": (change("calls", 0, id="call-z"), "lost_call"),
    "an attempt is missing": (drop("attempts", 2), "lost_attempt"),
    "the failed attempt is missing": (drop("attempts", 1), "lost_attempt"),
    "the upstream never saw a billed attempt": (drop("upstream", 0), "phantom_attempt"),
    "an attempt names an unknown upstream id": (
        change("attempts", 0, upstream_id="up-z-9"),
        "phantom_attempt",
    ),
    "an attempt is written twice": (repeat("attempts", 0), "double_attempt"),
    "one acceptance is two attempts": (repeat("attempts", 0, number=2), "double_attempt"),
    "a row is written twice": (repeat("calls", 0), "double_call"),
    "one call is two rows": (repeat("calls", 0, id="call-a2"), "double_call"),
    "a row counts its attempts wrongly": (change("calls", 1, attempts=1), "wrong_attempts"),
    "a row was never closed": (change("calls", 0, state="open"), "open_row"),
    "a row has a state nobody knows": (change("calls", 0, state="done"), "open_row"),
    "a row nobody sent": (drop("client", 0), "stranger_call"),
    "an answered call is not settled": (change("calls", 0, state="estimated"), "wrong_state"),
    "an answered call is called failed": (change("calls", 0, status="failed"), "wrong_status"),
    "prompt tokens are off by one": (change("calls", 0, prompt_tokens=15), "wrong_usage"),
    "completion tokens are off by one": (change("calls", 0, completion_tokens=2), "wrong_usage"),
    "tokens are missing": (change("calls", 0, prompt_tokens=None, cost_nusd=None), "wrong_usage"),
    "cached tokens are invented": (change("calls", 0, cached_tokens=4), "wrong_usage"),
    "an estimate is passed off as stated": (change("calls", 4, usage_source="provider"), "wrong_usage"),
    "the client was told another usage": (change("client", 0, usage={"prompt_tokens": 1}), "wrong_usage"),
    "a cost is one nano-dollar too much": (change("calls", 0, cost_nusd=3901), "wrong_cost"),
    "a cost is one nano-dollar too little": (change("calls", 0, cost_nusd=3899), "wrong_cost"),
    "a cost is missing": (change("calls", 0, cost_nusd=None), "wrong_cost"),
    "a cost without usage": (change("calls", 3, cost_nusd=1), "wrong_cost"),
    "a cut answer passed for whole": (change("upstream", 0, end="died"), "false_success"),
    "the client read something else": (change("client", 0, content_sha="xyz"), "wrong_content"),
    "hanging up is free": (change("calls", 2, state="failed", cost_nusd=None, prompt_tokens=None), "free_tokens"),
    "hanging up costs less than was shown": (change("client", 2, words=9), "under_billed"),
    "a left call is settled with another usage": (
        change("calls", 2, state="settled", completion_tokens=4, cost_nusd=14 * 150 + 4 * 600),
        "wrong_usage",
    ),
    "the rollups miss a call": (total(calls=4), "wrong_totals"),
    "the rollups are one nano-dollar off": (total(cost_nusd=15_601), "wrong_totals"),
    "the rollups miss a token": (total(completion_tokens=11), "wrong_totals"),
}


@pytest.mark.parametrize("case", FALSIFIED)
def test_falsified_books_are_caught(case: str) -> None:
    falsify, kind = FALSIFIED[case]
    books = balanced()
    falsify(books)
    assert kind in kinds(books)


def test_a_young_open_row_is_no_discrepancy() -> None:
    books = balanced()
    row = call("f", state="open", started_at=NOW_MS - 1, attempts=0, prompt_tokens=None, cost_nusd=None)
    books.calls.append(row)
    books.client.append(outcome("f", end="no_answer", call_id=None, usage=None))
    assert kinds(books) == set()


def test_leaving_while_the_request_goes_out_may_be_billed_as_estimated() -> None:
    books = balanced()
    books.upstream = [record for record in books.upstream if record["marker"] != "c"]
    books.attempts[3]["upstream_id"] = None
    assert kinds(books) == set()


def test_a_refusal_for_want_of_a_ledger_needs_no_row() -> None:
    books = balanced()
    books.client.append(outcome("f", end="error", http_status=503, error_code="ledger_unavailable"))
    assert kinds(books) == set()


def test_a_discrepancy_says_what_and_where() -> None:
    books = balanced()
    books.calls[0]["cost_nusd"] += 7
    (found, *_rest) = reconcile(books, RATES, NOW_MS, DEADLINE_MS)
    assert str(found) == "wrong_cost [call-a]: row 3907, usage is worth 3900 nano-dollars"


@pytest.mark.parametrize(
    ("usage", "cost_nusd"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 0}, 150),
        ({"prompt_tokens": 0, "completion_tokens": 1}, 600),
        ({"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4}, 6 * 150 + 4 * 75 + 2 * 600),
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, 2400),
        ({"prompt_tokens": 7, "completion_tokens": None}, 1050),
    ],
)
def test_prices_are_exact(usage: Row, cost_nusd: int) -> None:
    assert price_nusd(usage, RATES) == cost_nusd


@pytest.mark.parametrize(("tokens", "cost_nusd"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_halves_are_rounded_to_even(tokens: int, cost_nusd: int) -> None:
    assert (
        price_nusd({"prompt_tokens": tokens, "completion_tokens": 0}, {"input": "0.0005", "output": "0"}) == cost_nusd
    )

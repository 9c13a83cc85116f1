"""What one call adds to each sum, and in which latency bucket it falls: the SQL twin of the drainer's fold."""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Any

from sqlalchemy import BigInteger, Double, Integer, Table, case, cast, func, literal_column, or_
from sqlalchemy.sql import ColumnElement

from db.tables import LATENCY_BASE, LATENCY_FLOOR_MS, MEASURES, calls
from db.windows import Window

CLOSED = calls.c.state != "open"
"""Only closed calls are summed; a call still open has no outcome yet."""

HITS = ("exact", "semantic")
"""Kinds of answers that came out of our cache."""

LONGEST_VALUE = 120
"""Characters of a dimension's value in a rollup."""

CUT = "…"
"""Stands before the digest of a value that was cut."""

_OTHER_IDS = ("session_id", "trace_id", "idempotency_key")

_COUNTED = {
    "failed": calls.c.status == "failed",
    "refused": calls.c.status == "refused",
    "cancelled": calls.c.status == "cancelled",
    "unpriced": calls.c.cost_nusd.is_(None),
    "estimated": calls.c.state == "estimated",
    "cache_hits": calls.c.cache_kind.in_(HITS),
    "cache_lookups": calls.c.cache_kind.in_((*HITS, "miss", "coalesced")),
}


def shorten(value: str) -> str:
    """A dimension's value as rollups hold it: a long one, which a caller may make up, is cut and ends in its digest.

    Postgres takes no key beyond 2.7 kB.
    """
    if len(value) <= LONGEST_VALUE:
        return value
    digest = blake2b(value.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{value[: LONGEST_VALUE - len(digest) - len(CUT)]}{CUT}{digest}"


def sum_of(table: Table, measure: str) -> ColumnElement[int]:
    """The sum of one measure over rows of ``calls`` or of a rollup; 0 over no rows."""
    if table is not calls:
        return _whole(func.sum(table.c[measure])).label(measure)
    if measure == "calls":
        return func.count().label(measure)
    if measure in _COUNTED:
        return _whole(func.sum(case((_COUNTED[measure], 1), else_=0))).label(measure)
    return _whole(func.sum(calls.c[measure])).label(measure)


def sums_of(table: Table, measures: tuple[str, ...] = tuple(MEASURES)) -> list[ColumnElement[int]]:
    """The sums of several measures, each labelled with its name."""
    return [sum_of(table, each) for each in measures]


def dimension_of(table: Table, name: str) -> ColumnElement[str]:
    """A dimension's column where unknown reads as the empty string, as in the rollups."""
    if table is calls:
        return func.coalesce(calls.c[name], literal_column("''"))
    return table.c[name if name in table.c else "value"]


def filters_of(table: Table, window: Window) -> list[ColumnElement[bool]]:
    """The window's filters as SQL; an empty value means unknown."""
    if table is calls:
        return [_has_one_of(name, values) for name, values in window.filters.items()]
    return [dimension_of(table, name).in_([*map(shorten, values)]) for name, values in window.filters.items()]


def _has_one_of(name: str, values: tuple[str, ...]) -> ColumnElement[bool]:
    """Rollups cut long values and end them in a digest: in the calls they are found by their beginning."""
    cut = [value for value in values if len(value) == LONGEST_VALUE and CUT in value]
    begins = [calls.c[name].startswith(value.rpartition(CUT)[0], autoescape=True) for value in cut]
    unknown = [calls.c[name].is_(None)] if "" in values else []
    return or_(calls.c[name].in_([value for value in values if value not in cut]), *begins, *unknown)


def narrowing_of(window: Window) -> list[ColumnElement[bool]]:
    """The window's conditions on single calls as SQL over ``calls``."""
    wanted = window.narrowing
    conditions: list[ColumnElement[bool]] = []
    if wanted.call_id:
        conditions += begins_with(wanted.call_id)
    if wanted.text:
        conditions.append(or_(*(calls.c[each] == wanted.text for each in _OTHER_IDS)))
    if wanted.job_id:
        conditions.append(calls.c.tags.contains(f'"{wanted.job_id}"', autoescape=True))
    if wanted.error_codes:
        conditions.append(calls.c.error_code.in_(wanted.error_codes))
    if wanted.min_cost_nusd is not None:
        conditions.append(calls.c.cost_nusd >= wanted.min_cost_nusd)
    if wanted.min_latency_ms is not None:
        conditions.append(calls.c.latency_ms >= wanted.min_latency_ms)
    return conditions


def begins_with(beginning: str) -> list[ColumnElement[bool]]:
    """Calls whose id begins so, as a range that an index can answer; ids are ASCII, so ``~`` follows them all."""
    return [calls.c.id >= beginning, calls.c.id < f"{beginning}~"]


def latency_bucket(column: ColumnElement[Any]) -> ColumnElement[int]:
    """``floor(log(ms) / log(base))`` of a duration in milliseconds."""
    floor_ms = literal_column(repr(LATENCY_FLOOR_MS), Double)
    scale = literal_column(repr(math.log(LATENCY_BASE)), Double)
    raised = case((column < floor_ms, floor_ms), else_=column)
    return cast(func.floor(func.ln(raised) / scale), Integer)


def _whole(expression: ColumnElement[Any]) -> ColumnElement[int]:
    """A sum as a 64-bit integer on every database (Postgres sums BIGINT to NUMERIC)."""
    return cast(func.coalesce(expression, 0), BigInteger)

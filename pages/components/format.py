"""Numbers as people read them: money with the precision it needs, durations, counts, times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNPRICED = "unpriced"
_LINK = re.compile(r"@|:(?=//)|www(?=\.)", re.IGNORECASE)
"""Where Markdown would begin to make a link of plain text."""
ABSENT = "—"
_NUSD = Decimal(1_000_000_000)


def money(nusd: int | None, *, estimated: bool = False) -> str:
    """Nano-dollars as dollars with three significant digits below $1; unknown is said, an estimate is marked ``~``."""
    if nusd is None:
        return UNPRICED
    sign, dollars = ("-" if nusd < 0 else ""), abs(Decimal(nusd)) / _NUSD
    return f"{'~' if estimated else ''}{sign}${_digits(dollars)}"


def _digits(dollars: Decimal) -> str:
    if dollars == 0:
        return "0"
    if dollars >= 1000:
        return f"{dollars:,.0f}"
    if dollars >= 1:
        return f"{dollars:.2f}"
    rounded = _to_three(dollars)
    return f"{rounded:.2f}" if rounded >= 1 else f"{_to_three(rounded):f}"


def _to_three(number: Decimal) -> Decimal:
    """Three significant digits."""
    return number.quantize(Decimal(1).scaleb(number.adjusted() - 2), rounding=ROUND_HALF_EVEN)


def dollars(nusd: int | None) -> float | None:
    """Nano-dollars as a float of dollars, for charts only."""
    return None if nusd is None else nusd / 1e9


def count(number: float | None) -> str:
    """A count with k, M or G above ten thousand."""
    if number is None:
        return ABSENT
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            scaled = number / (1e3 if unit == "k" else limit)
            return f"{scaled:.{0 if abs(scaled) >= 100 else 1}f}{unit}"
    return f"{number:,.0f}"


def duration(ms: float | None) -> str:
    """Milliseconds as ms, s, min or h, with about three digits."""
    if ms is None:
        return ABSENT
    if ms == 0:
        return "0 ms"
    if ms < 10:
        return f"{ms:.2f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    return f"{ms / 60_000:.1f} min" if ms < 7_200_000 else f"{ms / 3_600_000:,.1f} h"


def share(part: float | None) -> str:
    """A share from 0 to 1 as per cent; small ones keep a digit more."""
    if part is None:
        return ABSENT
    places = 0 if part in {0, 1} else 2 if abs(part) < 0.01 else 1
    return f"{part * 100:.{places}f}%"


def change(now: float | None, before: float | None) -> str | float | None:
    """The change against the previous period as ``+12%``; 0 when flat, None without a baseline."""
    if now is None or not before:
        return None
    moved = (now - before) / abs(before)
    if abs(moved) < 0.0005:
        return 0
    return f"{moved:+.0%}" if abs(moved) >= 0.1 else f"{moved:+.1%}"


def zone(name: str | None) -> tzinfo:
    """The browser's time zone; UTC when it is not known."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def clock(at: int | None, where: tzinfo = UTC) -> str:
    """Epoch milliseconds as a local date and time to the second."""
    return ABSENT if at is None else f"{moment(at, where):%Y-%m-%d %H:%M:%S}"


def moment(at: int, where: tzinfo = UTC) -> datetime:
    """Epoch milliseconds as a local datetime."""
    return datetime.fromtimestamp(at / 1000, where)


def ago(at: int | None, now_at: int) -> str:
    """How long ago, in the largest unit that fits: ``just now``, ``5 min ago``, ``3 d ago``."""
    if at is None:
        return "never"
    seconds = max(0, now_at - at) // 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def plain(text: str) -> str:
    """Text for a place that reads Markdown (labels, captions): no character means anything, nothing becomes a link."""
    flat = _LINK.sub(lambda found: f"{found[0]}\N{WORD JOINER}", " ".join(text.split()))
    return "".join(f"\\{char}" if char in r"\`*_{}[]()<>#+-.!|:$~&^=\"'" else char for char in flat)

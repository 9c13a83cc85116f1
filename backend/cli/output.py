"""What the command line prints: tables or JSON lines on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the change.")]

COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}


class CommandFailed(Exception):
    """A command could not do what it was asked; the message is one line for the person who asked."""


def paint(text: str, colour: str, *, stream: Any = None) -> str:
    """The text in a colour where the stream is a terminal and ``NO_COLOR`` is not set."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def say(text: str) -> None:
    """A line for the person in front of the terminal; never mixed with data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def put(text: str) -> None:
    """A line of data."""
    sys.stdout.write(text + "\n")


def put_json(value: Any) -> None:
    """One JSON document on one line."""
    import orjson

    put(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def put_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool, columns: Sequence[str] | None = None) -> None:
    """Rows as JSON lines, or as an aligned table of the given columns."""
    if as_json:
        for row in rows:
            put_json(dict(row))
        return
    kept = list(rows)
    names = columns or list(dict.fromkeys(name for row in kept for name in row))
    cells = [[_show(row.get(name)) for name in names] for row in kept]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    put(paint(_align(names, widths), "bold"))
    for line in cells:
        put(_align(line, widths))


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _show(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value)) or "–"
    return str(value).replace("\n", " ")


def show_dollars(nusd: int | None) -> str:
    """Nano-dollars as exact dollars, without trailing zeros beyond the cent; unknown as a dash."""
    if nusd is None:
        return "–"
    whole, rest = divmod(abs(nusd), 1_000_000_000)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nusd < 0 else ''}${whole}.{decimals}"


def show_time(at_ms: int | None) -> str | None:
    """Epoch milliseconds as ISO 8601 UTC with milliseconds."""
    if at_ms is None:
        return None
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

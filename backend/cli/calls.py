"""Commands about calls: export them one by one, add them up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.moments import read_moment
from backend.cli.output import AsJson, put_json, put_rows, show_dollars, show_time

if TYPE_CHECKING:
    from backend.reports.ledger import Ledger
    from db.windows import Window

app = typer.Typer(help="Calls: export them, add them up.", no_args_is_help=True)

Since = Annotated[str | None, typer.Option(help="Calls from then on: 2026-11-20, 2026-11-20T08:30Z, 24h, 7d.")]
Until = Annotated[str | None, typer.Option(help="Calls before then.")]
Where = Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeat a name for either, other names for both.")]

FOREVER = 2**62
ROWS_AT_ONCE = 1000
PATIENCE_MS = 120_000
GROUPS = (
    "model",
    "deployment",
    "provider",
    "key_id",
    "user",
    "feature",
    "department",
    "environment",
    "origin",
    "cache_kind",
    "status",
)
FILTERS = (
    *GROUPS,
    "id",
    "state",
    "session_id",
    "trace_id",
    "idempotency_key",
    "endpoint",
    "tenant",
    "served_model",
    "usage_source",
    "price_id",
    "source_call_id",
    "rule",
    "experiment_id",
    "variant_id",
    "prompt_version",
    "error_code",
    "finish_reason",
    "worker",
)


@app.command("export")
def export(
    since: Since = None,
    until: Until = None,
    where: Where = None,
    attempts: Annotated[bool, typer.Option("--attempts", help="The tries at deployments instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write every call as CSV, or with --json as one object per line; the newest first, times in UTC."""
    window = _read_window(since, until, where)
    ledger = _open_ledger()
    rows = _read_attempts(ledger, window) if attempts else _read_calls(ledger, window)
    write_line = _write_json if as_json else _start_csv(_columns(attempts=attempts))
    for row in rows:
        write_line(row)


@app.command("totals")
def show_totals(
    since: Since = None,
    until: Until = None,
    where: Where = None,
    by: Annotated[list[str] | None, typer.Option(help=f"Group by: {', '.join(GROUPS)}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add up calls, tokens and money; calls without a known price are counted as unpriced, never as $0."""
    from backend.reports.totals import total_of
    from db.call_reads import count_open
    from db.rollup_reads import Grouping, read_sums

    names = tuple(by or ())
    if unknown := set(names) - set(GROUPS):
        raise typer.BadParameter(f"Cannot group by {', '.join(sorted(unknown))}; known are {', '.join(GROUPS)}.")
    window = _read_window(since, until, where)
    with _open_ledger().read() as connection:
        sums = read_sums(connection, window, Grouping(names))
        opened = count_open(connection, window)
    if as_json:
        rows = [dict(zip(names, each.values, strict=True)) | dict(each.measures) for each in sums]
        put_rows(rows if names else [{**_fields(total_of(sums)), "open": opened}], as_json=True)
        return
    rows = [dict(zip(names, each.values, strict=True)) | _show_sums(each.measures) for each in sums]
    put_rows(rows if names else [_show_sums(_fields(total_of(sums))) | {"open": opened}], as_json=False)


def _fields(totals: Any) -> dict[str, Any]:
    return {name: getattr(totals, name) for name in totals.__slots__}


def _show_sums(sums: Any) -> dict[str, Any]:
    counts = {name: sums[name] for name in ("calls", "failed", "refused", "cancelled", "unpriced")}
    tokens = {"prompt": sums["prompt_tokens"], "completion": sums["completion_tokens"]}
    money = {"cost": show_dollars(sums["cost_nusd"]), "saved": show_dollars(sums["saved_nusd"])}
    return counts | tokens | money


def _read_window(since: str | None, until: str | None, where: Sequence[str] | None) -> Window:
    from db.windows import Window

    filters: dict[str, tuple[str, ...]] = {}
    for condition in where or ():
        name, found, value = condition.partition("=")
        if not found or name not in FILTERS:
            raise typer.BadParameter(f"{condition!r} is not NAME=VALUE with a name of {', '.join(FILTERS)}.")
        filters[name] = (*filters.get(name, ()), value)
    return Window(read_moment(since) if since else 0, read_moment(until) if until else FOREVER, filters)


def _open_ledger() -> Ledger:
    from backend.cli.database import opened_current, read_settled_environment
    from backend.reports.ledger import open_ledger

    with opened_current():
        return open_ledger(read_settled_environment(), PATIENCE_MS)


def _read_calls(ledger: Ledger, window: Window) -> Iterator[dict[str, Any]]:
    from db.call_reads import ALL_COLUMNS, PageRequest, Position, read_page

    after: Position | None = None
    while True:
        with ledger.read() as connection:
            rows = read_page(connection, window, PageRequest(ROWS_AT_ONCE, after, ALL_COLUMNS))
        yield from (dict(row) for row in rows)
        if len(rows) < ROWS_AT_ONCE:
            return
        after = Position(rows[-1]["started_at"], rows[-1]["id"])


def _read_attempts(ledger: Ledger, window: Window) -> Iterator[dict[str, Any]]:
    from db.attempt_reads import Place, read_attempt_page

    after: Place | None = None
    while True:
        with ledger.read() as connection:
            rows = read_attempt_page(connection, window, ROWS_AT_ONCE, after)
        yield from (dict(row) for row in rows)
        if len(rows) < ROWS_AT_ONCE:
            return
        after = Place(rows[-1]["call_id"], rows[-1]["number"])


def _columns(*, attempts: bool) -> Sequence[str]:
    from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS

    return ATTEMPT_COLUMNS if attempts else CALL_COLUMNS


def _write_json(row: dict[str, Any]) -> None:
    import orjson

    from backend.reports.exports import JSON_COLUMNS

    parsed = {name: orjson.loads(row[name]) for name in JSON_COLUMNS if row.get(name) is not None}
    put_json(row | parsed | {"started_at": show_time(row["started_at"])})


def _start_csv(columns: Sequence[str]) -> Any:
    """Writes the header; returns what writes a row, with cells that no spreadsheet takes for a formula."""
    import csv
    import sys

    from backend.reports.exports import safe_cell

    writer = csv.writer(sys.stdout)
    writer.writerow(columns)

    def write(row: dict[str, Any]) -> None:
        shown = row | {"started_at": show_time(row["started_at"])}
        writer.writerow([safe_cell(shown[name]) for name in columns])

    return write

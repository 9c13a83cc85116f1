"""Commands about prices: list them, state one that wins over the list price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.database import opened_current
from backend.cli.options import spread
from backend.cli.output import AsJson, Reason, put, put_json, put_rows, show_time

if TYPE_CHECKING:
    from decimal import Decimal

    from db.prices import PriceRow

app = typer.Typer(help="Prices per million tokens: list, override.", no_args_is_help=True)


@app.command("list")
def show_prices(
    model: Annotated[str, typer.Argument(help="Part of a model's name.")] = "",
    source: Annotated[str, typer.Option(help="litellm or override.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most rows to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List prices, newest first, in dollars per million tokens."""
    from db.engine import reading
    from db.prices import list_prices

    with opened_current() as engine, reading(engine) as connection:
        rows = list_prices(connection, model=model, source=source, limit=limit)
    columns = ["model", "provider", "input", "cache_read", "output", "effective_from", "source", "id"]
    put_rows((_describe(row, as_json=as_json) for row in rows), as_json=as_json, columns=columns)


@dataclass(frozen=True, kw_only=True)
class PriceOptions:
    """What a model costs, as the command line states it."""

    model: Annotated[str, typer.Argument(help="Model name, as in calls.")]
    rate: Annotated[list[str] | None, typer.Argument(help="BUCKET=DOLLARS per million tokens: input=0.15 …")] = None
    reason: Reason
    provider: Annotated[str | None, typer.Option(help="Only at this provider.")] = None
    effective: Annotated[str | None, typer.Option(help="From when on; now when left out.")] = None
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the earlier override back.")] = False
    as_json: AsJson = False


@app.command("set")
@spread(PriceOptions)
def set_price(options: PriceOptions) -> None:
    """State what a model costs; calls already made keep their price."""
    from backend import actions
    from backend.cli.moments import read_moment
    from backend.cli.settings import sign

    if options.withdraw == bool(options.rate):
        raise typer.BadParameter("Give rates such as input=0.15 output=0.60, or --withdraw.")
    dollars = None if options.withdraw else _read_rates(options.rate or ())
    start = read_moment(options.effective) if options.effective else None
    statement = actions.PriceStatement(options.model, dollars, options.provider, start)
    with opened_current() as engine:
        price_id = actions.set_price(engine, statement, sign(options.reason))
    if options.as_json:
        put_json({"id": price_id, "model": options.model})
    else:
        put(f"{options.model} is priced as {price_id}.")


def _read_rates(rates: Sequence[str]) -> dict[str, Decimal]:
    from decimal import Decimal, InvalidOperation

    try:
        return {bucket: Decimal(value) for bucket, _, value in (rate.partition("=") for rate in rates)}
    except InvalidOperation:
        raise typer.BadParameter(f"{' '.join(rates)!r} are not rates such as input=0.15 output=0.60.") from None


def _describe(row: PriceRow, *, as_json: bool) -> dict[str, Any]:
    import orjson

    rates = orjson.loads(row.rates)
    shown = {"id": row.id, "model": row.model, "provider": row.provider, "source": row.source}
    shown |= {"effective_from": show_time(row.effective_from) if row.effective_from else None}
    if as_json:
        return shown | {"rates_nusd_per_mtok": rates, "actor": row.actor, "reason": row.reason}
    first = (rates or {}).get("standard", [{}])[0]
    return shown | {name: _show_rate(first.get(name)) for name in ("input", "cache_read", "output")}


def _show_rate(nusd_per_mtok: int | None) -> str | None:
    if nusd_per_mtok is None:
        return None
    whole, rest = divmod(nusd_per_mtok, 1_000_000_000)
    return f"{whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"

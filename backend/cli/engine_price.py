"""The command about what an engine's tokens cost, beside APIs; prices its calls so on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.database import opened_current, read_settled_environment
from backend.cli.engine_place import spec_of
from backend.cli.options import spread
from backend.cli.output import AsJson, CommandFailed, put, put_json, put_rows, say, show_dollars

if TYPE_CHECKING:
    from backend.reports.engine_price import EnginePrice


@dataclass(frozen=True, kw_only=True)
class PriceOptions:
    """Which engine over which time, beside what."""

    name: Annotated[str, typer.Argument(help="The engine's name.")]
    range: Annotated[str, typer.Option(help="5m, 30m, 1h, 3h, 24h, 7d, 30d or 90d.")] = "24h"
    against: Annotated[list[str] | None, typer.Option(help="An API model to compare with; may be repeated.")] = None
    apply: Annotated[str | None, typer.Option(help="Price calls to come: margin or amortised.")] = None
    record: Annotated[bool, typer.Option("--record", help="Put the range's adjustment on record.")] = False
    reason: Annotated[str, typer.Option(help="Why; needed to apply or record.")] = ""
    as_json: AsJson = False


@spread(PriceOptions)
def show_price(options: PriceOptions) -> None:
    """Show what the engine's tokens cost, at the margin and amortised, beside APIs; price its calls so on request."""
    from backend.reports.engine_price import read_engine_price
    from backend.reports.filters import PRESETS, preset_scope
    from backend.reports.ledger import open_ledger

    if options.range not in PRESETS or options.apply not in {None, "margin", "amortised"}:
        raise typer.BadParameter(f"--range is one of {', '.join(PRESETS)}, --apply margin or amortised.")
    found = read_engine_price(
        open_ledger(read_settled_environment()),
        preset_scope(options.range),
        spec_of(options.name),
        options.against or (),
    )
    if options.apply or options.record:
        _act(options, found)
    if options.as_json:
        from dataclasses import asdict

        put_json(asdict(found) | {"adjustment_nusd": found.total.adjustment_nusd})
        return
    rates = {"at the margin": found.margin, "amortised": found.amortised, **{a.model: a.rates for a in found.apis}}
    put_rows([_rate_row(name, each) for name, each in rates.items()], as_json=False)
    total = found.total
    books = f"settled {show_dollars(total.settled_nusd)}, paid {show_dollars(total.paid_nusd)}"
    put(f"{books}, adjustment {show_dollars(total.adjustment_nusd)}; ran {total.up_ms / 3_600_000:.2f} h")
    for api in found.apis:
        put(f"{api.model}: {show_dollars(api.same_traffic_nusd)} for the same calls; {_say_even(api.break_even)}")
    if found.missing:
        put(f"missing: {', '.join(found.missing)}")


def _rate_row(name: str, rates: Any) -> dict[str, Any]:
    told = {"$ per million": name, "prompt": None, "completion": None}
    if rates is not None:
        told |= {"prompt": show_dollars(rates.input_nusd_per_mtok)}
        told |= {"completion": show_dollars(rates.output_nusd_per_mtok)}
    return told


def _say_even(even: Any) -> str:
    if even.calls_per_hour is None:
        return "it is free"
    reach = "within reach" if even.reachable else "out of reach"
    return f"as dear at {even.calls_per_hour:,} calls/h ({reach}: it can do {even.capacity_per_hour:,})"


def _act(options: PriceOptions, found: EnginePrice) -> None:
    """Prices calls to come, or puts a range's adjustment on record. Raises ``CommandFailed`` on what is unknown."""
    from backend import actions
    from backend.cli.settings import sign

    if not options.reason.strip():
        raise typer.BadParameter("--reason says why; it is kept with the act.")
    by = sign(options.reason)
    rates = {"margin": found.margin, "amortised": found.amortised}.get(options.apply or "")
    if (options.apply and rates is None) or (options.record and found.total.paid_nusd is None):
        raise CommandFailed(f"The price is unknown; missing: {', '.join(found.missing)}.")
    with opened_current() as engine:
        if rates is not None:
            version = actions.price_engine(engine, options.name, rates, by)
            say(f"{options.name}: calls are priced so from settings version {version.version} on.")
        if options.record:
            total = found.total
            names = ("start_at", "up_ms", "calls", "prompt_tokens", "completion_tokens", "settled_nusd", "paid_nusd")
            changes = {name: getattr(total, name) for name in names} | {"adjustment_nusd": total.adjustment_nusd}
            actions.record_adjustment(engine, options.name, changes, by)

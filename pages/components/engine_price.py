"""What an engine's tokens cost: at the margin, amortised over the range, beside APIs; where it breaks even."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from backend.actions import Signature, price_engine
from backend.reports.engine_price import ApiComparison, EnginePrice, PricedPeriod, TokenRates, read_engine_price
from backend.settings.knobs import EngineSpec
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import card
from pages.components.signed_act import draw_signed_act
from pages.components.view import View

APIS = ("gpt-4o-mini", "gpt-4.1-mini", "gemini-2.5-flash", "claude-haiku-4-5")
_MOST_PERIODS = 200


def draw_price(spec: EngineSpec, view: View) -> None:
    """Rates side by side, the books of the range, the way to price calls to come."""
    against = st.multiselect(
        "Beside", APIS, default=APIS[:2], accept_new_options=True, max_selections=6, key=f"price_beside_{spec.name}"
    )
    found = data.read(read_engine_price, view.scope(), spec, tuple(against))
    if found.missing:
        st.info(fmt.plain(f"For more it needs {', '.join(found.missing)}."), icon=":material/info:")
    with st.grid(4, min_column_width=170, gap="small"):
        _draw_figures(found)
    with card("$ per million tokens", hint="Amortised shares the idle hours among the tokens that were served."):
        _draw_rates(found)
        if found.margin is not None or found.amortised is not None:
            _draw_choice(spec, found)
    if found.periods:
        with card("Over the range", hint="What calls were settled at beside what the engine cost meanwhile."):
            height: Literal["content"] | int = "content" if len(found.periods) <= 12 else 420
            st.dataframe(_frame(found.periods), hide_index=True, alt="Periods", height=height)


def _draw_figures(found: EnginePrice) -> None:
    total = found.total
    tiles = [
        ("An hour", fmt.money(found.hour_nusd) if found.hour_nusd is not None else fmt.ABSENT, "of all its GPUs"),
        ("Ran", fmt.duration(total.up_ms), f"{fmt.share(total.utilisation)} of its capacity used"),
        ("Paid", fmt.money(total.paid_nusd) if total.paid_nusd is not None else fmt.ABSENT, "for these hours"),
        ("Settled", _write_settled(total), f"{total.calls:,} calls, {total.unpriced:,} unpriced"),
    ]
    for title, value, note in tiles:
        st.metric(title, value, note, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _draw_rates(found: EnginePrice) -> None:
    rows = [_row("At the margin", found.margin, "never idle"), _row("Amortised", found.amortised, "as it was used")]
    rows += [_row(each.model, each.rates, _describe(each)) for each in found.apis]
    frame = pd.DataFrame(rows, columns=["", "In", "Out", "Means"])
    st.dataframe(frame, hide_index=True, alt="Dollars per million tokens", height="content")
    if found.effort is not None:
        st.caption(fmt.plain(f"Machine time per token: {found.effort.method}."))


def _row(name: str, rates: TokenRates | None, means: str) -> tuple[str, str, str, str]:
    if rates is None:
        return name, fmt.ABSENT, fmt.ABSENT, "not known yet"
    return name, fmt.money(rates.input_nusd_per_mtok), fmt.money(rates.output_nusd_per_mtok), means


def _describe(api: ApiComparison) -> str:
    same = f"{fmt.money(api.same_traffic_nusd)} for the same calls"
    even = api.break_even
    if even.calls_per_hour is None:
        return f"{same}; it is free"
    reach = "" if even.reachable else f", out of reach: it can do {even.capacity_per_hour:,}"
    return f"{same}; the engine is cheaper from {even.calls_per_hour:,} calls an hour{reach}"


def _draw_choice(spec: EngineSpec, found: EnginePrice) -> None:
    """Price calls to come at one of the two rates; those already made keep theirs."""
    offered = {"margin": found.margin, "amortised": found.amortised}
    with st.container(horizontal=True, vertical_alignment="center", key="price_choice"):
        for name, rates in offered.items():
            if rates is not None and st.button(f"Price calls {_AS[name]}", key=f"price_{name}"):
                _price(spec.name, name, rates)


_AS = {"margin": "at the margin", "amortised": "amortised"}


@st.dialog("Price its calls", icon=":material/sell:")
def _price(engine: str, name: str, rates: TokenRates) -> None:
    told = (fmt.money(rates.input_nusd_per_mtok), fmt.money(rates.output_nusd_per_mtok))
    st.markdown(fmt.plain(f"Calls of {engine} from now on: {told[0]} in, {told[1]} out per million ({_AS[name]})."))
    st.caption("Calls already made keep their price.")

    def do(by: Signature) -> str:
        return f"Settings version {price_engine(data.console().engine, engine, rates, by).version} is in force."

    draw_signed_act("Apply", "price", do)


def _frame(periods: Sequence[PricedPeriod]) -> pd.DataFrame:
    newest = list(reversed(periods))[:_MOST_PERIODS]
    return pd.DataFrame(
        {
            "From": [fmt.clock(each.start_at, data.zone()) for each in newest],
            "Ran": [fmt.duration(each.up_ms) for each in newest],
            "Used": [fmt.share(each.utilisation) for each in newest],
            "Calls": [each.calls for each in newest],
            "Settled": [_write_settled(each) for each in newest],
            "Paid": [_money(each.paid_nusd) for each in newest],
            "Adjustment": [_money(each.adjustment_nusd) for each in newest],
        }
    )


def _write_settled(period: PricedPeriod) -> str:
    """What was settled; no call with a price is not the same as calls that cost nothing."""
    return fmt.UNPRICED if period.calls and period.calls == period.unpriced else fmt.money(period.settled_nusd)


def _money(nusd: int | None) -> str:
    return fmt.ABSENT if nusd is None else fmt.money(nusd)

"""What a model costs, stated by a person: it wins over the list price from a moment on."""

from __future__ import annotations

import streamlit as st

from backend.actions import GatewayError, PriceStatement, Signature, set_price
from pages.components import data
from pages.components import format as fmt
from pages.components.notices import notify
from pages.components.person import actor

RATES = {"input": "Input", "output": "Output", "cache_read": "Cache read", "cache_write": "Cache write"}


@st.dialog("State a price", icon=":material/sell:", width="medium")
def state_price() -> None:
    """A model's rates from now on; calls already made keep theirs."""
    st.caption("In dollars per million tokens. It wins over the list price for calls made from now on.")
    left, right = st.columns(2)
    model = left.text_input("Model", key="price_model")
    provider = right.text_input("Provider", key="price_provider", placeholder="Any")
    dollars: dict[str, str | None] = {}
    with st.grid(4, gap="small"):
        for name, title in RATES.items():
            dollars[name] = st.text_input(title, key=f"price_{name}", icon=":material/attach_money:").strip() or None
    reason = st.text_input("Why", key="price_reason", placeholder="A reason, for whoever reads this later")
    if st.button("State", type="primary", key="price_apply"):
        _state(PriceStatement(model, dollars, provider or None), reason)


def _state(statement: PriceStatement, reason: str) -> None:
    try:
        if not statement.dollars or not statement.dollars.get("input"):
            st.error("A price needs at least a rate for input.", icon=":material/error:")
            return
        set_price(data.console().engine, statement, Signature(actor(), reason))
    except GatewayError as error:
        st.error(fmt.plain(error.message), icon=":material/error:")
        return
    data.forget()
    notify(f"{fmt.plain(statement.model)} has a price from now on.")
    st.rerun()

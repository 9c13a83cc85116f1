"""An act that is no change of settings: a reason, the button, what was refused, and the news afterwards."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from backend.actions import GatewayError, Signature
from pages.components import format as fmt
from pages.components.notices import notify
from pages.components.person import actor
from pages.components.settings_form import begin_anew


def draw_signed_act(label: str, key: str, act: Callable[[Signature], str]) -> None:
    """Ask why, then do it once the button is pressed; ``act`` returns what to tell people then."""
    reason = st.text_input("Why", key=f"{key}_reason", placeholder="A reason, for whoever reads this later")
    if not st.button(label, type="primary", key=f"{key}_do"):
        return
    if not reason.strip():
        st.error("It needs a reason.", icon=":material/error:")
        return
    try:
        news = act(Signature(actor(), reason))
    except GatewayError as error:
        st.error(fmt.plain(error.message), icon=":material/error:")
        return
    begin_anew()
    notify(news)
    st.rerun()

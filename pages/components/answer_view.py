"""An answer of the gateway with what it took: as text, with its figures under it."""

from __future__ import annotations

import streamlit as st

from pages.components import format as fmt
from pages.components.colors import Tone
from pages.components.gateway_client import Answer

CALLS = "pages/observe/calls.py"
CACHE_TONES: dict[str, Tone] = {"HIT": "green", "SEMANTIC HIT": "violet", "COALESCED": "blue"}


def draw_answer(answer: Answer) -> None:
    """The figures above the text, so that columns compare; an error in its own words."""
    if answer.error:
        st.error(fmt.plain(answer.error), icon=":material/error:")
    _draw_badges(answer)
    if answer.done and not answer.error:
        _draw_figures(answer)
    if answer.text or not answer.done:
        st.code(answer.text or " ", language=None, wrap_lines=True)


def _draw_badges(answer: Answer) -> None:
    cache = answer.headers.get("x-governor-cache")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if cache:
            st.badge(f"cache {cache}", color=CACHE_TONES.get(cache, "gray"))
        if answer.headers.get("x-governor-simulated"):
            st.badge("simulated", icon=":material/science:", color="orange")
        if answer.headers.get("x-governor-deployment"):
            st.text(answer.headers["x-governor-deployment"])


def _draw_figures(answer: Answer) -> None:
    sent, made = answer.usage.get("prompt_tokens"), answer.usage.get("completion_tokens", 0)
    with st.grid(4, min_column_width=105, gap="small"):
        if answer.ttft_ms is not None:
            st.metric("TTFT", fmt.duration(answer.ttft_ms), border=True)
        st.metric("Total", fmt.duration(answer.total_ms), border=True)
        st.metric("Tokens in + out", f"{fmt.count(sent)} + {fmt.count(made)}", border=True)
        st.metric("Cost", fmt.money(cost_of(answer)), border=True)
    if answer.call_id:
        st.page_link(CALLS, label="The call", icon=":material/list_alt:", query_params={"call": answer.call_id})


def cost_of(answer: Answer) -> int | None:
    """What the ledger billed, else what the gateway said; none when neither knows."""
    if answer.cost_nusd is not None:
        return answer.cost_nusd
    said = answer.headers.get("x-governor-cost-nusd", "")
    return int(said) if said.isdecimal() else None

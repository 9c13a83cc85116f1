"""The queue of semantic hits for a person to judge: two questions side by side, good or bad."""

from __future__ import annotations

import streamlit as st

from backend.actions import GatewayError, Review, Signature, review_hit
from backend.reports.cache_reviews import Pair, Queue, Text, read_reviews
from pages.components import data
from pages.components import format as fmt
from pages.components.address import choose_section
from pages.components.cards import CALLS
from pages.components.notices import notify
from pages.components.person import actor
from pages.components.view import View

QUEUES: dict[Queue, str] = {"served": "Served hits", "verified": "Compared by machine"}
_REASON = "Reviewed on the page Cache"
_BEFORE = "_reviews_before"
_NOT_KEPT = "(not kept)"
_EMPTY = {
    "served": "No semantic hit to review in this range.",
    "verified": "No would-be hit of this range whose fresh answer was compared is left to review.",
}


def draw_reviews(view: View) -> None:
    """Ten pairs at a time, newest first."""
    with st.container(horizontal=True, vertical_alignment="center", key="reviews_toolbar"):
        queue = choose_section(QUEUES, "queue")
        everything = st.toggle("Reviewed too", key="reviews_all", on_change=_restart)
        st.space("stretch")
        st.caption("A verdict stands above the machine's and feeds the calibration.", width="content")
    mark = (queue, everything, view.range)
    if st.session_state.get("_reviews_of") != mark:
        st.session_state["_reviews_of"] = mark
        _restart()
    before = st.session_state.get(_BEFORE)
    page = data.read(read_reviews, view.scope(), queue, before, unreviewed=not everything)
    if not page.pairs:
        st.markdown(f":gray[:material/task_alt: {_EMPTY[queue]}]")
    for pair in page.pairs:
        _draw_pair(pair)
    if any(each.asked.question is None for each in page.pairs):
        st.caption("Questions are shown where bodies are captured: Settings, section ledger, capture.")
    with st.container(horizontal=True, key="reviews_paging"):
        if page.next is not None:
            st.button("Older", icon=":material/arrow_forward:", key="reviews_older", on_click=_go, args=(page.next,))
        if before is not None:
            st.button("Newest", key="reviews_newest", type="tertiary", on_click=_restart)


def _restart() -> None:
    st.session_state.pop(_BEFORE, None)


def _go(before: int) -> None:
    st.session_state[_BEFORE] = before


def _draw_pair(pair: Pair) -> None:
    with st.container(border=True, key=f"pair_{pair.call_id}"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=True):
            _draw_facts(pair)
            st.space("stretch")
            _draw_buttons(pair)
        left, right = st.columns(2)
        with left:
            _draw_text("Asked", pair.asked)
        with right:
            _draw_text("Answered before", pair.cached)


def _draw_facts(pair: Pair) -> None:
    if pair.machine_same is not None:
        said = "same" if pair.machine_same else "different"
        st.badge(f"machine: {said} ({pair.machine_source})", color="green" if pair.machine_same else "red")
    if pair.human_same is not None:
        st.badge(f"{fmt.plain(pair.reviewer or 'person')}: {'good' if pair.human_same else 'bad'}", color="violet")
    facts = [fmt.clock(pair.at, data.zone()), pair.model or fmt.ABSENT]
    facts += [f"similarity {pair.similarity:.3f}"] if pair.similarity is not None else []
    facts += [f"p {pair.probability:.4f}"] if pair.probability is not None else []
    facts += [f"saved {fmt.money(pair.saved_nusd)}"] if pair.saved_nusd else []
    st.caption(fmt.plain(" · ".join(facts)), width="content")
    link = {"call": pair.call_id}
    st.page_link(CALLS, label="Call", icon=":material/arrow_forward:", query_params=link, width="content")


def _draw_buttons(pair: Pair) -> None:
    for same, label, icon in ((True, "Good", ":material/thumb_up:"), (False, "Bad", ":material/thumb_down:")):
        st.button(
            label,
            icon=icon,
            key=f"review_{same}_{pair.call_id}",
            disabled=pair.human_same is same,
            on_click=_judge,
            args=(pair.call_id, same),
            help="The cached answer is as good as a fresh one." if same else "The cached answer is wrong here.",
        )


def _draw_text(title: str, text: Text) -> None:
    st.caption(title)
    st.code(text.question or _NOT_KEPT, language=None, wrap_lines=True)
    if text.answer:
        with st.expander("Answer"):
            st.code(text.answer, language=None, wrap_lines=True)


def _judge(call_id: str, same: bool) -> None:  # noqa: FBT001 - a callback's argument
    try:
        review_hit(data.console().engine, Review(call_id, same), Signature(actor(), _REASON))
    except GatewayError as error:
        notify(error.message, ":material/error:")
        return
    data.forget()
    notify("Kept: a good hit." if same else "Kept: a bad hit.")

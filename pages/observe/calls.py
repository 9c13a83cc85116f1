"""Every call, one by one: bars above, the list below, one call in a drawer."""

from __future__ import annotations

from itertools import islice

import streamlit as st

from backend.reports.calls import CallPage, CallQuery, count_matching, read_calls, read_strip
from backend.reports.exports import export_csv
from pages.components import data
from pages.components.call_drawer import open_call
from pages.components.call_table import draw_table
from pages.components.cards import draw_nothing
from pages.components.charts import Plot
from pages.components.filters import current_view
from pages.components.paging import Cursors, cursors_of, draw_turns
from pages.components.shell import quietly_failing
from pages.components.strip import choose_measure, draw_strip

PAGE_ROWS = 50
CSV_ROWS = 100_000


def draw() -> None:
    """The page; the drawer opens over it when the address names a call."""
    view = current_view()
    query = CallQuery(view.scope(), st.query_params.get("q") or None)
    measure = _draw_toolbar(query)
    with quietly_failing("The bars"):
        plot = Plot("calls_strip", "Calls per time bucket", height=120)
        draw_strip(data.read(read_strip, query), query.scope, plot, measure)
    cursors = _cursors(query)
    page = data.read(read_calls, query, cursors[-1], PAGE_ROWS)
    if page.frame.empty:
        draw_nothing(view)
    else:
        draw_table(page.frame)
        _draw_paging(query, page, cursors)
    call_id = st.query_params.get("call")
    if call_id:
        open_call(call_id)


def _draw_toolbar(query: CallQuery) -> str:
    st.session_state["call_search"] = query.text or ""
    with st.container(horizontal=True, vertical_alignment="center", key="calls_toolbar"):
        st.text_input(
            "Find",
            key="call_search",
            type="search",
            placeholder="Find by call, session, trace, idempotency or job id",
            label_visibility="collapsed",
            on_change=_search,
            width=380,
        )
        st.space("stretch")
        measure = choose_measure()
        st.download_button(
            "CSV",
            data=lambda: "".join(islice(export_csv(data.console().ledger, query), CSV_ROWS + 1)),
            file_name="calls.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help=f"Every call that passes the filters, up to {CSV_ROWS:,}. `governor calls export` writes more.",
        )
    return measure


def _search() -> None:
    text = st.session_state["call_search"].strip()
    if text:
        st.query_params["q"] = text
    else:
        st.query_params.pop("q", None)


def _cursors(query: CallQuery) -> Cursors:
    """A live range moves on without beginning anew."""
    return cursors_of("call", (st.query_params.get("range"), query.text, str(sorted(query.scope.filters.items()))))


def _draw_paging(query: CallQuery, page: CallPage, cursors: Cursors) -> None:
    first = (len(cursors) - 1) * PAGE_ROWS + 1
    with st.container(horizontal=True, vertical_alignment="center", key="calls_paging"):
        with quietly_failing("The count"):
            total = data.read(count_matching, query)
            st.caption(f"{first:,}–{first + len(page.frame) - 1:,} of {total}", width="stretch")
        draw_turns(cursors, page.next)


draw()

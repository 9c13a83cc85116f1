"""Cards: a titled box that fails alone, and the states in which there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import streamlit as st

from backend.reports.filters import PRESETS
from pages.components import data
from pages.components.filters import change_view
from pages.components.shell import quietly_failing
from pages.components.view import View, write_span

CALLS = "pages/observe/calls.py"


@contextmanager
def card(
    title: str, *, hint: str | None = None, link: tuple[str, Mapping[str, str | list[str]]] | None = None
) -> Iterator[None]:
    """A bordered box with a title, and on its right a link ``(page, query)`` to what stands behind it."""
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{title}**", help=hint, width="stretch")
            if link:
                label = "Calls" if link[0] == CALLS else "Open"
                st.page_link(
                    link[0], label=label, icon=":material/arrow_forward:", icon_position="right", query_params=link[1]
                )
        with quietly_failing(title):
            yield


def curl_example() -> str:
    """A first call to copy into a terminal."""
    return (
        f"curl {data.console().gateway_url}/v1/chat/completions \\\n"
        '  -H "content-type: application/json" \\\n'
        '  -d \'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}\''
    )


def draw_nothing(view: View) -> None:
    """Why there is nothing, and the one thing to do about it."""
    last_at = data.freshness().last_call_at
    with st.container(border=True, key="nothing"):
        if last_at is None:
            st.subheader("No calls yet", anchor=False)
            st.write("Point a client at the gateway and its calls appear here. Or copy this into a terminal:")
            st.code(curl_example(), language="bash")
            return
        if view.filters:
            st.subheader("No calls pass these filters", anchor=False)
            st.write("There may be some in a longer range or without a filter.")
            st.button(
                "Remove all filters",
                type="primary",
                on_click=change_view,
                args=(View(view.range, view.group, view.compare),),
            )
            return
        st.subheader("No calls in this range", anchor=False)
        st.write("The newest call is older than the range shown.")
        wider = View(_range_reaching(last_at), view.group, view.compare)
        st.button("Show the newest calls", type="primary", on_click=change_view, args=(wider,))


def _range_reaching(at: int) -> str:
    """The shortest ready-made range that holds a moment, else one around it."""
    age_ms = data.freshness().read_at - at
    fitting = [name for name, length_ms in PRESETS.items() if length_ms > age_ms * 1.5]
    return fitting[0] if fitting else write_span(at - 86_400_000, at + 60_000)

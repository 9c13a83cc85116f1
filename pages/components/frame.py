"""The frame at work: sign-in, sidebar, controls, then the page."""

from __future__ import annotations

import streamlit as st

from pages.components.filters import draw_chips, draw_controls, keep_view, leave, load_view
from pages.components.notices import draw_undo, show_notices
from pages.components.person import draw_person, require_person
from pages.components.shell import ICON, PageEntry, PageTable, entry_of, quietly_failing, register
from pages.components.ticker import draw_status

LOGOS = {"light": "#16202e", "dark": "#e6ebf3"}
_LOGO = """<svg xmlns="http://www.w3.org/2000/svg" width="132" height="32" viewBox="0 0 132 32" fill="none">
<rect x="1" y="1" width="30" height="30" rx="8" fill="#2456D6"/>
<g stroke="#fff" stroke-width="2" stroke-linecap="round"><path d="M16 6.500v19"/>
<path d="M16 8.500 8.800 16.200M16 8.500l7.200 7.700"/>
<path d="M10.200 18.400 16 22.200l5.800-3.800" stroke-width="1.600"/>
<path d="M11.500 26h9"/></g><circle cx="8.300" cy="17.200" r="3.100" fill="#fff"/>
<circle cx="23.700" cy="17.200" r="3.100" fill="#fff"/><circle cx="16" cy="6.800" r="1.700" fill="#fff"/>
<text x="40" y="22.500" font-family="Source Sans,Segoe UI,sans-serif" font-size="19" font-weight="650"
fill="{ink}">Governor</text>
</svg>"""


def draw_frame(pages: PageTable) -> None:
    """Run one visit: everything around the page, then the page itself."""
    st.set_page_config(page_title="Governor", page_icon=ICON, layout="wide")
    require_person()
    page = register(pages)
    entry = entry_of(page, pages)
    st.logo(
        _LOGO.format(ink=LOGOS.get(st.context.theme.type or "light", LOGOS["light"])), icon_image=ICON, size="large"
    )
    with st.sidebar:
        _draw_sidebar(entry)
    _draw_header(entry)
    show_notices()
    draw_undo()
    with quietly_failing(entry.title):
        page.run()
    if entry.scoped:
        keep_view()


def _draw_sidebar(entry: PageEntry) -> None:
    with quietly_failing("Status"):
        draw_status(scoped=entry.scoped)
    draw_person()


def _draw_header(entry: PageEntry) -> None:
    if not entry.scoped:
        leave(entry.path)
        st.title(entry.title, anchor=False)
        return
    view = load_view(entry.path)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="header"):
        st.title(entry.title, anchor=False, width="stretch")
        draw_controls(view)
    with quietly_failing("Names of filters"):
        draw_chips(view)

"""Whether hits of the semantic cache are served by now, and why, in one line."""

from __future__ import annotations

import streamlit as st

from backend.reports.cache_evidence import Decision, decide
from backend.settings.document import dump
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.colors import Tone
from pages.components.settings_form import Draft, review

SETTINGS = "pages/tune/settings.py"
_OFF = "Identical questions are answered from the cache; the same question in other words is not."
_SAID: dict[str, tuple[str, Tone, str]] = {
    "off": ("Semantic cache off", "gray", ":material/toggle_off:"),
    "observe": ("Observing", "blue", ":material/visibility:"),
    "exact only": ("Exact hits only", "orange", ":material/shield:"),
    "serving": ("Serving", "green", ":material/check_circle:"),
}
_MEANING = {
    "observe": "Would-be hits are answered fresh and both answers compared; none is served yet.",
    "exact only": "Would-be hits are answered fresh: no threshold is sure to keep wrong ones rare enough.",
    "serving": "Questions asked before in other words get the answer they got then.",
}


def draw_state(version: Version) -> Decision | None:
    """The badge, the reason in words, what is missing, and the way to the knobs; the decision unless it is off."""
    settings = version.settings.cache
    made = data.read(decide, settings) if settings.semantic_enabled else None
    state = made.state if made else "off"
    title, tone, icon = _SAID[state]
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", border=True, key="cache_state"):
        st.badge(title, icon=icon, color=tone, width="content")
        st.markdown(f"{_MEANING.get(state, _OFF)} :gray[{fmt.plain(_explain(made))}]", width="stretch")
        if made is None:
            st.button("Switch on", key="semantic_on", on_click=_ask, help="It begins by observing and serves nothing.")
        st.page_link(
            SETTINGS, label="Knobs", icon=":material/tune:", query_params={"section": "cache"}, width="content"
        )
    if made and made.state == "observe":
        st.progress(min(1.0, made.labels / settings.min_labels), text=_missing(made, settings.min_labels))
    if st.session_state.pop("_semantic_on", False):
        values = dump(version.settings)
        review(Draft({**values, "cache": {**values["cache"], "semantic_enabled": True}}, version))
    return made


def _ask() -> None:
    st.session_state["_semantic_on"] = True


def _explain(made: Decision | None) -> str:
    if made is None:
        return ""
    reason = made.reason.partition(": exact hits only")[0]
    return f"{reason[:1].upper()}{reason[1:]}."


def _missing(made: Decision, needed: int) -> str:
    left = max(0, needed - made.labels)
    return f"{made.labels:,} of {needed:,} labels; {left:,} more before anything can be served"

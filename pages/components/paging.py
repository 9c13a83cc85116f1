"""Pages of a list that goes on: where each one visited so far began, and the buttons to the next and back."""

from __future__ import annotations

from typing import Any

import streamlit as st

Cursors = list[str | None]


def cursors_of(name: str, mark: object) -> Cursors:
    """Where each page visited so far began; another ``mark`` (the filters, the search) starts anew."""
    state = st.session_state
    if state.get(f"_{name}_cursors_of") != mark:
        state[f"_{name}_cursors"], state[f"_{name}_cursors_of"] = [None], mark
    found: Cursors = state[f"_{name}_cursors"]
    return found


def draw_turns(cursors: Cursors, following: str | None, key: str = "") -> None:
    """The buttons Newer and Older; ``following`` is where the next page begins, None after the last."""
    icon = ":material/chevron_left:"
    st.button("Newer", icon=icon, disabled=len(cursors) == 1, on_click=_newer, args=(cursors,), key=f"{key}newer")
    older: dict[str, Any] = {"icon": ":material/chevron_right:", "icon_position": "right", "key": f"{key}older"}
    st.button("Older", disabled=following is None, on_click=cursors.append, args=(following,), **older)


def _newer(cursors: Cursors) -> None:
    cursors.pop()

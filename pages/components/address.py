"""Choices of one page that live in the address, so that a link shows the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import streamlit as st

S = TypeVar("S", bound=str)


def choose_section(sections: Mapping[S, str], name: str) -> S:
    """One of several parts of a page, named by the address's parameter ``name``; the first one needs no parameter."""
    first = next(iter(sections))
    wanted = st.query_params.get(name, first)
    key = f"choose_{name}"
    st.session_state[key] = wanted if wanted in sections else first
    chosen: S | None = st.segmented_control(
        name.capitalize(),
        list(sections),
        format_func=sections.__getitem__,
        required=True,
        key=key,
        on_change=_write,
        args=(name, key, first),
        label_visibility="collapsed",
    )
    return chosen or first


def _write(name: str, key: str, first: str) -> None:
    chosen = st.session_state[key]
    if chosen and chosen != first:
        st.query_params[name] = chosen
    else:
        st.query_params.pop(name, None)

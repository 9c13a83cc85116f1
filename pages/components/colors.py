"""Colours by theme: the same thing has the same colour on every page."""

from __future__ import annotations

from typing import Literal

import streamlit as st

Tone = Literal["red", "orange", "yellow", "blue", "green", "violet", "gray"]
"""Colours of badges, by Streamlit's names."""

STATUS_TONES: dict[str, Tone] = {
    "ok": "green",
    "failed": "red",
    "refused": "orange",
    "cancelled": "gray",
    "open": "blue",
}
CACHE_TONES: dict[str, Tone] = {
    "exact": "green",
    "semantic": "violet",
    "coalesced": "blue",
    "miss": "gray",
    "bypass": "gray",
}
JOB_TONES: dict[str, Tone] = {
    "validating": "blue",
    "in progress": "blue",
    "finalizing": "blue",
    "cancelling": "orange",
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "cancelled": "gray",
}

_LIGHT = (
    *("#2F62E0", "#0D9488", "#D97A1A", "#8455D8", "#CF3F74", "#3C8FC7", "#72851F", "#9C6237"),
    *("#7C9BF0", "#5BBDB3", "#EBA75F", "#B59BE8", "#E58AAC", "#86BDE0", "#A9B767", "#C69A78"),
)
_DARK = (
    *("#6E98FF", "#2FBFAF", "#F0A04B", "#B091F7", "#F07FA8", "#66B5E8", "#B3C24F", "#CF9A6B"),
    *("#3F66C9", "#1E8A7F", "#B87427", "#7F61C9", "#B95479", "#3F86B5", "#808C33", "#96693F"),
)
_FIXED = {
    "Other": ("#A3AFBF", "#657387"),
    "(none)": ("#7D8BA0", "#8493A8"),
    "ok": ("#0B7F56", "#3CC492"),
    "failed": ("#C62F2F", "#F47A7A"),
    "refused": ("#D97A1A", "#F0A04B"),
    "cancelled": ("#8A97A8", "#8493A8"),
    "exact": ("#0D9488", "#2FBFAF"),
    "semantic": ("#8455D8", "#B091F7"),
    "coalesced": ("#3C8FC7", "#66B5E8"),
    "miss": ("#2F62E0", "#6E98FF"),
    "bypass": ("#8A97A8", "#8493A8"),
    "near miss": ("#D97A1A", "#F0A04B"),
    "refused by the gate": ("#8A97A8", "#8493A8"),
    "same answer": ("#0B7F56", "#3CC492"),
    "different answer": ("#C62F2F", "#F47A7A"),
    "error_rate": ("#C62F2F", "#F47A7A"),
    "latency_p50": ("#2F62E0", "#6E98FF"),
    "latency_p95": ("#D97A1A", "#F0A04B"),
    "ttft_p95": ("#0D9488", "#2FBFAF"),
    "p50": ("#2F62E0", "#6E98FF"),
    "p90": ("#0D9488", "#2FBFAF"),
    "p95": ("#D97A1A", "#F0A04B"),
    "p99": ("#CF3F74", "#F07FA8"),
}


def is_dark() -> bool:
    """Whether the visitor sees the dark theme."""
    return st.context.theme.type == "dark"


def color_of(entity: str) -> str:
    """The colour of a model, a key, a status: given at its first appearance and kept by this process."""
    if entity in _FIXED:
        return _FIXED[entity][is_dark()]
    places = _places()
    place = places.setdefault(entity, len(places))
    palette = _DARK if is_dark() else _LIGHT
    return palette[place % len(palette)]


def ink(*, soft: bool = False) -> str:
    """The colour of lines and words on a chart."""
    if is_dark():
        return "#93A1B5" if soft else "#E6EBF3"
    return "#5B6B82" if soft else "#16202E"


def grid() -> str:
    """The colour of grid lines."""
    return "#232C39" if is_dark() else "#E8EDF4"


@st.cache_resource(show_spinner=False)
def _places() -> dict[str, int]:
    return {}

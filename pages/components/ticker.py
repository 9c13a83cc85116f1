"""How fresh the numbers are, and the beat that shows new calls as they come."""

from __future__ import annotations

import streamlit as st

from backend.reports.status import Freshness
from pages.components import data
from pages.components.format import clock
from pages.components.shell import quietly_failing

BEAT_S = 5
_SEEN = "_seen"


def draw_status(*, scoped: bool) -> None:
    """The time of the last reading, the live switch, and whether answers are simulated."""
    live = st.session_state.get("live", True) and scoped and "call" not in st.query_params
    st.fragment(_draw_beat, run_every=BEAT_S if live else None)(live=live, told=_tell(live=live) if scoped else "")
    if scoped:
        st.toggle("Live", value=True, key="live", persist_state="session", help="Look for new calls every 5 seconds.")


def _tell(*, live: bool) -> str:
    return " · live" if live else " · paused"


def _draw_beat(*, live: bool, told: str) -> None:
    with quietly_failing("Status"):
        _beat(live=live, told=told)


def _beat(*, live: bool, told: str) -> None:
    fresh = data.freshness()
    mark = (fresh.last_call_at, fresh.spool_bytes == 0)
    if st.session_state.get(_SEEN, mark) != mark and live:
        st.session_state[_SEEN] = mark
        st.rerun()
    st.session_state[_SEEN] = mark
    if fresh.simulated_only:
        st.badge("Simulated answers", icon=":material/science:", color="orange", help=_SIMULATED)
    st.caption(f"Updated {clock(fresh.read_at, data.zone())[11:]}{told}{_lag(fresh)}")


_SIMULATED = "Every answer of the last day came from the simulated provider. Point a deployment at a real one."


def _lag(fresh: Freshness) -> str:
    return f" · {fresh.lag_ms / 1000:,.0f} s behind" if fresh.lag_ms > 5000 else ""

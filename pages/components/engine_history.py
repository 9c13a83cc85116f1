"""What happened to an engine: every start, change and failure, changes with their before and after, and its log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from backend.reports.engines import EngineEvent, read_engine_events, read_log
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import card
from pages.components.settings_form import CHANGE_COLUMNS, change_frame

_FIGURES = {
    "tokens_per_s": ("Answer tokens/s", "number"),
    "ttft_p50_ms": ("TTFT p50", "ms"),
    "ttft_p95_ms": ("TTFT p95", "ms"),
    "itl_p95_ms": ("ITL p95", "ms"),
    "error_rate": ("Errors", "share"),
    "nusd_per_mtok": ("$ per million tokens", "nusd"),
}
_LINES = 200


def draw_history(name: str) -> None:
    """The latest change measured, then everything that happened."""
    events = data.read(read_engine_events, name, 100)
    measured = [event for event in events if event.before]
    if measured:
        _draw_change(measured[0])
    with card("What happened"):
        if not events:
            st.caption("Nothing yet.")
            return
        height: Literal["content"] | int = "content" if len(events) <= 12 else 420
        st.dataframe(_frame(events), hide_index=True, alt="What happened to the engine", height=height)


def draw_log(name: str) -> None:
    """The last lines of what it said, on this machine."""
    lines = read_log(data.console().ledger, name, _LINES)
    if not lines:
        st.caption("No log on this machine: it was never started here, or runs elsewhere.")
        return
    st.caption(f"The last {len(lines)} lines; older starts are beside it in the data folder.")
    st.code("\n".join(lines), language=None, wrap_lines=True, height=480)


def _draw_change(event: EngineEvent) -> None:
    stayed = event.kind == "apply"
    with card("The latest change, measured", hint="The same short load before and after."):
        when = fmt.clock(event.at, data.zone())
        outcome = "stayed" if stayed else f"was taken back: {event.message}"
        st.markdown(fmt.plain(f"{when}, {event.actor}: {event.reason}. It {outcome}."))
        with st.grid(2, min_column_width=320, gap="small", border=False) as grid:
            with grid.cell():
                st.dataframe(_compare(event), hide_index=True, alt="Before and after the change")
            with grid.cell():
                changed = change_frame(_read(event.changes) or [])
                st.dataframe(changed, hide_index=True, alt="What was changed", column_config=CHANGE_COLUMNS)


def _compare(event: EngineEvent) -> pd.DataFrame:
    before, after = _read(event.before) or {}, _read(event.after) or {}
    rows = [
        (title, _write(before.get(name), unit), _write(after.get(name), unit), _change(before, after, name))
        for name, (title, unit) in _FIGURES.items()
        if before.get(name) is not None or after.get(name) is not None
    ]
    return pd.DataFrame(rows, columns=["", "Before", "After", "Change"])


def _change(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    return str(fmt.change(after.get(name), before.get(name)) or "")


def _write(value: float | None, unit: str) -> str:
    if value is None:
        return fmt.ABSENT
    if unit == "nusd":
        return fmt.money(int(value))
    if unit == "number":
        return f"{value:,.1f}"
    return fmt.duration(value) if unit == "ms" else fmt.share(value)


def _frame(events: Sequence[EngineEvent]) -> pd.DataFrame:
    rows = [(fmt.clock(each.at, data.zone()), each.kind, each.message, each.actor, each.reason) for each in events]
    return pd.DataFrame(rows, columns=["When", "What", "Details", "Who", "Why"])


def _read(text: str | None) -> Any:
    return json.loads(text) if text else None

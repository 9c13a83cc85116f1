"""Where the time goes: to the first token, between tokens, in total, and in Governor itself."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from backend.reports.filters import DIMENSIONS
from backend.reports.latency import (
    MEASURES,
    Answers,
    Measure,
    latency_by,
    latency_histogram,
    latency_over_time,
    latency_summary,
)
from backend.reports.percentiles import Percentiles
from pages.components import data
from pages.components import format as fmt
from pages.components.address import choose_section
from pages.components.cards import CALLS, card, draw_nothing
from pages.components.charts import Plot, draw_lines
from pages.components.filters import current_view
from pages.components.histogram import draw_histogram
from pages.components.view import View

ANSWERS: dict[Answers, str] = {"upstream": "Answered upstream", "cache": "From the cache", "all": "All"}
HELP: dict[Measure, str] = {
    "ttft_ms": "From the arrival of the call to the first token sent.",
    "itl_ms": "Mean time between two tokens of a stream.",
    "latency_ms": "From the arrival of the call to the end of its answer.",
    "overhead_ms": "What Governor itself took.",
}
QUANTILES = {name: name for name in ("p50", "p90", "p95", "p99")}


def draw() -> None:
    """The page."""
    view = current_view()
    with st.container(horizontal=True, vertical_alignment="center", key="latency_toolbar"):
        answers = choose_section(ANSWERS, "answers")
    summary = data.read(latency_summary, view.scope(), answers)
    if not any(found.calls for found in summary.values()):
        draw_nothing(view)
        return
    _draw_summary(summary)
    measure = choose_section(MEASURES, "measure")
    _draw_course(view, measure, answers)
    left, right = st.columns([2, 3])
    with left, card("Distribution"):
        found = data.read(latency_histogram, view.scope(), measure, answers)
        lines = {"p50": summary[measure].p50, "p95": summary[measure].p95}
        draw_histogram(
            found.frame, Plot("latency_histogram", f"Distribution of {MEASURES[measure]}", height=300), lines
        )
    with right, card(f"By {DIMENSIONS[view.group].lower()}", link=(CALLS, view.link())):
        _draw_table(view, measure, answers)


def _draw_summary(summary: dict[Measure, Percentiles]) -> None:
    with st.grid(4, min_column_width=200, gap="small"):
        for name, title in MEASURES.items():
            found = summary[name]
            st.metric(
                f"{title} p95",
                fmt.duration(found.p95),
                f"p50 {fmt.duration(found.p50)} · p99 {fmt.duration(found.p99)}" if found.calls else None,
                delta_color="off",
                delta_arrow="off",
                help=f"{HELP[name]} Over {found.calls:,} calls.",
                border=True,
                height="stretch",
            )


def _draw_course(view: View, measure: Measure, answers: Answers) -> None:
    with card(f"{MEASURES[measure]} over time", link=(CALLS, view.link())):
        found = data.read(latency_over_time, view.scope(), measure, answers)
        draw_lines(
            found.frame,
            QUANTILES,
            view.scope(),
            Plot(f"latency_{measure}", f"{MEASURES[measure]} over time", "ms", 300),
        )


def _draw_table(view: View, measure: Measure, answers: Answers) -> None:
    frame = data.read(latency_by, view.scope(), view.group, measure, answers).frame.head(200)
    shown = pd.DataFrame(
        {
            "name": frame["name"],
            "calls": frame["calls"],
            **{name: [fmt.duration(None if pd.isna(each) else each) for each in frame[name]] for name in QUANTILES},
        }
    )
    text = {name: st.column_config.TextColumn(name, alignment="right", width=72) for name in QUANTILES}
    event = st.dataframe(
        shown,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"latency_table_{view.group}_{measure}",
        alt=f"{MEASURES[measure]} by {DIMENSIONS[view.group].lower()}",
        height=300,
        column_config={
            "name": st.column_config.TextColumn(DIMENSIONS[view.group], width=140),
            "calls": st.column_config.NumberColumn("Calls", format="localized", width=66),
            **text,
        },
    )
    rows = event["selection"]["rows"]
    if rows and rows[0] < len(frame):
        value = str(frame["value"].iloc[rows[0]])
        label = f"Calls of {fmt.plain(data.name_value(view.group, value))}"
        st.page_link(
            CALLS, label=label, icon=":material/list_alt:", query_params=view.narrowed(view.group, value).link()
        )


draw()

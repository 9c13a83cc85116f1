"""Curves of sweeps: throughput and latency over calls at once, the sweet spot marked, the targets as lines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import product
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.reports.engine_sweeps import Sweep
from pages.components import format as fmt
from pages.components.charts import CONFIG, Plot, style
from pages.components.colors import color_of, ink

SPEEDS = {"completion_tokens_per_s": "Answer tokens per second", "goodput_per_s": "Calls per second within the targets"}
DELAYS = {"ttft_p95_ms": "TTFT p95", "itl_p95_ms": "ITL p95"}


def draw_speed(sweeps: Sequence[Sweep], measure: str, plot: Plot) -> None:
    """One line for each sweep and kind of load; a star where it should run."""
    figure = go.Figure()
    for sweep in sweeps:
        for name, rows in _curves(sweep, alone=len(sweeps) == 1):
            figure.add_trace(_line(name, rows, rows[measure], [f"{value:,.1f}" for value in rows[measure]]))
        _mark_sweet(figure, sweep, measure)
    _finish(figure, sweeps, plot)


def draw_delay(sweeps: Sequence[Sweep], plot: Plot) -> None:
    """Both latencies of each curve with what was promised of them."""
    alone = len(sweeps) == 1
    curves = [curve for sweep in sweeps for curve in _curves(sweep, alone=alone)]
    figure = go.Figure()
    for (name, rows), (column, title) in product(curves, DELAYS.items()):
        if rows[column].notna().any():
            label = title if name == "Measured" else f"{title} {name}"
            figure.add_trace(_line(label, rows, rows[column] / 1000, [fmt.duration(ms) for ms in rows[column]]))
    _finish(figure, sweeps, plot)
    figure.update_yaxes(ticksuffix=" s")
    _show(figure, plot)


def _curves(sweep: Sweep, *, alone: bool) -> list[tuple[str, pd.DataFrame]]:
    """The sweep's lines by batch size and shape, named by what tells them apart."""
    found: list[tuple[str, pd.DataFrame]] = []
    groups = sweep.curve.groupby([sweep.curve["max_num_seqs"].fillna(0), "shape"], sort=False)
    for (batch, shape), rows in groups:
        told = [] if alone else [sweep.row.engine]
        told += [f"batch {batch}"] if batch != 0 else []
        told += [str(shape)] if groups.ngroups > 1 or not alone else []
        found.append((" · ".join(told) or "Measured", rows.sort_values("concurrency")))
    return found


def _line(name: str, rows: pd.DataFrame, values: Any, shown: list[str]) -> go.Scatter:
    return go.Scatter(
        x=rows["concurrency"],
        y=values,
        name=escape(name),
        mode="lines+markers",
        line={"width": 2, "color": color_of(name)},
        marker={"size": 6},
        customdata=shown,
        hovertemplate=f"{escape(name)} %{{customdata}}<extra></extra>",
    )


def _mark_sweet(figure: go.Figure, sweep: Sweep, measure: str) -> None:
    if sweep.sweet is None:
        return
    spot = sweep.curve.iloc[sweep.sweet]
    figure.add_trace(
        go.Scatter(
            x=[spot["concurrency"]],
            y=[spot[measure]],
            mode="markers",
            name="Sweet spot",
            marker={"symbol": "star", "size": 16, "color": ink()},
            hovertemplate=f"{escape(sweep.reason)}<extra></extra>",
        )
    )


def _finish(figure: go.Figure, sweeps: Sequence[Sweep], plot: Plot) -> None:
    style(figure, plot)
    steps = sorted({int(each) for sweep in sweeps for each in sweep.curve["concurrency"]})
    figure.update_xaxes(type="log", tickvals=steps, ticktext=[f"{each:,}" for each in steps])
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(dragmode=False, hovermode="closest")
    if plot.unit == "count":
        _show(figure, plot)


def _show(figure: go.Figure, plot: Plot) -> None:
    st.plotly_chart(figure, key=plot.key, alt=plot.alt, config=CONFIG)

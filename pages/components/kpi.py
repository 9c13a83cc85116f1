"""Key figures: value, course, change against the period before, and the way to what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from backend.reports.overview import Kpi, Kpis
from pages.components import format as fmt

_DELTA: Mapping[str, Literal["normal", "inverse", "off"]] = {"up": "normal", "down": "inverse", "neither": "off"}


def write_figure(kpi: Kpi, *, estimated: bool = False) -> str:
    """A figure's value in its unit."""
    if kpi.unit == "nusd":
        return fmt.money(None if kpi.value is None else int(kpi.value), estimated=estimated)
    if kpi.unit == "share":
        return fmt.share(kpi.value)
    return fmt.duration(kpi.value) if kpi.unit == "ms" else fmt.count(kpi.value)


def draw_kpi(kpis: Kpis, name: str, *, note: str | None = None, hint: str | None = None) -> None:
    """One figure as a card; the bucket still filling is left out of its course."""
    kpi = kpis[name]
    series = kpi.series[:-1] if kpis.partial_last and len(kpi.series) > 2 else kpi.series
    sums = kpi.unit not in {"ms", "share"}
    flat = _thinned([point or 0 for point in series if sums or point is not None])
    estimated = name == "spend" and kpis.totals.estimated > 0
    delta = fmt.change(kpi.value, kpi.previous)
    options: dict[str, Any] = {"delta_description": "vs previous"} if delta is not None else {}
    st.metric(
        kpi.title,
        write_figure(kpi, estimated=estimated),
        delta if delta is not None else note,
        delta_color=_DELTA[kpi.good] if delta is not None else "off",
        delta_arrow="auto" if delta is not None else "off",
        chart_data=flat if any(flat) else None,
        chart_type="area",
        help=hint,
        border=True,
        height="stretch",
        **options,
    )


def _thinned(series: Sequence[float], most: int = 48) -> list[float]:
    """Means of neighbours: a line as wide as a card has room for about fifty points."""
    step = -(-len(series) // most) or 1
    groups = [series[start : start + step] for start in range(0, len(series), step)]
    return [sum(group) / len(group) for group in groups]


def draw_kpis(kpis: Kpis, wanted: Sequence[tuple[str, str | None, str]]) -> None:
    """A row of figures of equal size: (name, note without a baseline, help)."""
    with st.grid(len(wanted), min_column_width=170 if len(wanted) < 6 else 140, gap="small"):
        for name, note, text in wanted:
            draw_kpi(kpis, name, note=note, hint=text)

"""Where the money goes: by any dimension, deeper with every click."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from backend.reports.exports import safe_cell
from backend.reports.filters import DIMENSIONS
from backend.reports.spend import MEASURES, SpendTable, over_time, spend_by
from pages.components import data
from pages.components import format as fmt
from pages.components.address import choose_section
from pages.components.cards import CALLS, card, draw_nothing
from pages.components.charts import Plot, Unit, draw_bars
from pages.components.filters import change_view, current_view
from pages.components.rows import rows_of, whole
from pages.components.view import View


def draw() -> None:
    """The page."""
    view = current_view()
    measure = choose_section(MEASURES, "measure")
    with card(f"{MEASURES[measure]} by {DIMENSIONS[view.group].lower()}", link=(CALLS, view.link())):
        over = data.read(over_time, view.scope(), view.group, measure)
        if over.groups:
            unit: Unit = "nusd" if measure.endswith("_nusd") else "count"
            draw_bars(over, view.scope(), Plot("spend_over_time", f"{MEASURES[measure]} over time", unit, 320))
        else:
            st.caption("Nothing in this range.")
    table = data.read(spend_by, view.scope(), view.group)
    if table.frame.empty:
        draw_nothing(view)
    else:
        _draw_table(table, view)


def _draw_table(table: SpendTable, view: View) -> None:
    with card(f"By {DIMENSIONS[view.group].lower()}", hint="Choose a line to go deeper."):
        _draw_head(table, view)
        event = st.dataframe(
            _shown(table),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key=f"spend_table_{view.group}_{len(view.filters)}",
            alt=f"Spend by {DIMENSIONS[view.group].lower()}",
            height="content" if len(table.frame) <= 15 else 560,
            column_config=_columns(DIMENSIONS[view.group]),
        )
        rows = event["selection"]["rows"]
        if rows and rows[0] < len(table.frame):
            _draw_choices(str(table.frame["value"].iloc[rows[0]]), view)
        elif table.rest:
            st.caption(f"{table.rest:,} more values are in the totals but not listed.")


def _draw_head(table: SpendTable, view: View) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="spend_head"):
        with st.container():
            _draw_totals(table)
        st.download_button(
            "CSV",
            data=lambda: _write_csv(table),
            file_name=f"spend-by-{view.group}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="The lines below, costs in nano-dollars.",
        )


def _write_csv(table: SpendTable) -> str:
    frame = table.frame.drop(columns=["series"])
    for column in ("value", "name"):
        frame[column] = [safe_cell(each) for each in frame[column]]
    return frame.to_csv(index=False)


def _draw_totals(table: SpendTable) -> None:
    totals = table.totals
    parts = [
        f"**{fmt.plain(fmt.money(totals.spend_nusd, estimated=totals.estimated > 0))}** for {totals.calls:,} calls"
    ]
    if totals.saved_nusd:
        parts.append(f"{fmt.plain(fmt.money(totals.saved_nusd))} saved")
    if totals.unpriced:
        parts.append(f":orange[{totals.unpriced:,} {fmt.UNPRICED}, not in the total]")
    st.markdown(" · ".join(parts))


def _draw_choices(value: str, view: View) -> None:
    """What to do with the chosen line: split it by something else, or see its calls."""
    narrowed = view.narrowed(view.group, value)
    with st.container(horizontal=True, vertical_alignment="center", key="drill"):
        st.caption(f"{fmt.plain(data.name_value(view.group, value))}: split by")
        others = [name for name in DIMENSIONS if name != view.group and name not in view.filters][:5]
        for name in others:
            deeper = View(view.range, name, view.compare, narrowed.filters)
            st.button(DIMENSIONS[name], key=f"drill_{name}", on_click=change_view, args=(deeper,))
        st.page_link(CALLS, label="Calls", icon=":material/list_alt:", query_params=narrowed.link())


def _shown(table: SpendTable) -> pd.DataFrame:
    frame = table.frame
    return pd.DataFrame(
        {
            "name": frame["name"],
            "cost": [_cost(row) for row in rows_of(frame)],
            "share": frame["share"],
            "series": [[point / 1e9 for point in series] for series in frame["series"]],
            "calls": frame["calls"],
            "tokens": [
                f"{fmt.count(row.prompt_tokens)} + {fmt.count(row.completion_tokens)}" for row in rows_of(frame)
            ],
            "per_1k": [_money(value) for value in frame["per_1k_calls_nusd"]],
            "saved": [fmt.money(int(value)) for value in frame["saved_nusd"]],
            "failed": [fmt.share(row.failed / row.calls if row.calls else None) for row in rows_of(frame)],
            "unpriced": frame["unpriced"],
        }
    )


def _cost(row: Any) -> str:
    """A sum of nothing but unpriced calls and free ones is not $0."""
    if row.unpriced and not whole(row.cost_nusd):
        return fmt.UNPRICED
    return _money(row.cost_nusd, estimated=row.estimated > 0)


def _money(value: Any, *, estimated: bool = False) -> str:
    return fmt.money(whole(value), estimated=estimated)


def _columns(title: str) -> Any:
    columns = st.column_config
    return {
        "name": columns.TextColumn(title, width=190, pinned=True),
        "cost": columns.TextColumn("Cost", width=90, alignment="right"),
        "share": columns.ProgressColumn("Share", format="percent", min_value=0, max_value=1, width=120),
        "series": columns.AreaChartColumn("Course", width=130, y_min=0),
        "calls": columns.NumberColumn("Calls", format="localized", width=80),
        "tokens": columns.TextColumn("Tokens in + out", width=120, alignment="right"),
        "per_1k": columns.TextColumn("Per 1k calls", width=95, alignment="right"),
        "saved": columns.TextColumn("Saved", width=80, alignment="right"),
        "failed": columns.TextColumn("Failed", width=70, alignment="right"),
        "unpriced": columns.NumberColumn("Unpriced", format="localized", width=80),
    }


draw()

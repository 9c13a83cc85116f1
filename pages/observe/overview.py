"""The first page: what calls cost and how fast they are, what changed, what needs a look."""

from __future__ import annotations

import streamlit as st

from backend.reports.attention import Attention, read_attention
from backend.reports.filters import DIMENSIONS
from backend.reports.markers import read_recent_changes
from backend.reports.overview import Kpis, read_kpis, read_latency_course, read_ranked
from backend.reports.spend import over_time
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import CALLS, card, draw_nothing
from pages.components.charts import Plot, draw_bars, draw_lines
from pages.components.filters import current_view
from pages.components.kpi import draw_kpis
from pages.components.ranking import draw_ranked
from pages.components.view import View

SEVERITY = {
    "high": ("red", ":material/error:"),
    "medium": ("orange", ":material/warning:"),
    "low": ("gray", ":material/info:"),
}
RANKED = ("model", "key_id", "feature", "user", "department", "environment", "provider")
CHANGES = "pages/govern/changes.py"
MOST_ITEMS = 5


def draw() -> None:
    """The page."""
    view = current_view()
    scope = view.scope()
    kpis = data.read(read_kpis, scope)
    if not kpis.totals.calls:
        draw_nothing(view)
        return
    _draw_figures(kpis)
    _draw_spend(view)
    _draw_speed(kpis, view)
    _draw_lists(view)
    left, right = st.columns(2)
    with left, card("Needs attention"):
        _draw_attention(view)
    with right, card("Recent changes", link=(CHANGES, {})):
        _draw_changes()


def _draw_figures(kpis: Kpis) -> None:
    unpriced = kpis.totals.unpriced
    notes = [f"{fmt.count(unpriced)} {fmt.UNPRICED}"] if unpriced else []
    made = int(kpis["calls"].value or 0)
    failed = round((kpis["error_rate"].value or 0.0) * made)
    saved = ", ".join(f"{title} {fmt.money(nusd)}" for title, nusd in kpis.saved_by.items() if nusd) or "nothing yet"
    draw_kpis(
        kpis,
        [
            ("spend", notes[0] if notes else None, _spend_help(kpis)),
            ("saved", None, f"Against paying for every answer at its list price: {saved}."),
            ("calls", None, _calls_help(made, kpis.totals.calls - made)),
            ("latency_p95", None, "95 of 100 answers were complete within this time, cache hits included."),
            ("error_rate", None, f"{failed:,} calls failed."),
        ],
    )


def _calls_help(made: int, own: int) -> str:
    rest = f", and {own:,} that Governor made for its caches: they count as money only" if own else ""
    return f"{made:,} closed calls{rest}."


def _spend_help(kpis: Kpis) -> str:
    totals = kpis.totals
    parts = [f"{totals.calls - totals.unpriced:,} priced calls."]
    if totals.unpriced:
        parts.append(f"{totals.unpriced:,} calls have no price and are not in it.")
    if totals.estimated:
        parts.append(f"~: the usage of {totals.estimated:,} calls is our estimate.")
    return " ".join(parts)


def _draw_spend(view: View) -> None:
    scope, group = view.scope(), DIMENSIONS[view.group].lower()
    with card(f"Spend by {group}", link=("pages/observe/spend.py", view.link())):
        over = data.read(over_time, scope, view.group)
        ghost = _previous(view) if view.compare else None
        draw_bars(over, scope, Plot("overview_spend", f"Spend over time by {group}", "nusd", 300), ghost)
        if over.unpriced:
            st.caption(f"{over.unpriced:,} calls are {fmt.UNPRICED} and not in this chart.")


def _previous(view: View) -> list[float]:
    """The spend of the period before, bucket by bucket."""
    scope = view.scope()
    before = view.spanning(scope.start_at - scope.length_ms, scope.start_at).scope()
    frame = data.read(over_time, before, None).frame
    values = [float(value) for value in frame["value"]]
    return values if any(values) else []


def _draw_speed(kpis: Kpis, view: View) -> None:
    course, scope = read_latency_course(kpis), view.scope()
    left, right = st.columns(2)
    with left, card("Latency", link=("pages/observe/latency.py", view.link())):
        columns = {"latency_p50": "Total p50", "latency_p95": "Total p95", "ttft_p95": "TTFT p95"}
        draw_lines(
            course, columns, scope, Plot("overview_latency", "Latency percentiles over time", "ms", 210, ticks=5)
        )
    with right, card("Errors", link=(CALLS, view.narrowed("status", "failed").link())):
        plot = Plot("overview_errors", "Share of failed calls over time", "share", 210, ticks=5)
        draw_lines(course, {"error_rate": "Error rate"}, scope, plot)


def _draw_lists(view: View) -> None:
    """Three dimensions that callers have filled in, the chosen one first."""
    tables = {name: data.read(read_ranked, view.scope(), name) for name in dict.fromkeys([view.group, *RANKED])}
    told = [name for name, table in tables.items() if any(table.frame["value"])][:3]
    for column, dimension in zip(st.columns(max(1, len(told))), told, strict=True):
        title = "By status" if dimension == "status" else f"Top {DIMENSIONS[dimension].lower()}s"
        with column, card(title, hint="Click a bar for its calls."):
            draw_ranked(tables[dimension], dimension, view, key=f"ranked_{dimension}")


def _draw_attention(view: View) -> None:
    found = data.read(read_attention, view.scope())
    if not found:
        st.caption(":material/check_circle: Nothing. Every call is priced, no deployment fails, the ledger keeps up.")
    for place, item in enumerate(found[:MOST_ITEMS]):
        _draw_item(place, item, view)
    if len(found) > MOST_ITEMS:
        st.caption(f"and {len(found) - MOST_ITEMS} more")


def _draw_item(place: int, item: Attention, view: View) -> None:
    color, icon = SEVERITY[item.severity]
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", key=f"attention_{place}"):
        st.markdown(f":{color}[{icon}] **{fmt.plain(item.title)}**  \n{fmt.plain(item.detail)}", width="stretch")
        if item.filters:
            narrowed = view
            for dimension, values in item.filters.items():
                narrowed = narrowed.narrowed(dimension, *values)
            st.page_link(
                CALLS,
                label="Calls",
                icon=":material/arrow_forward:",
                icon_position="right",
                query_params=narrowed.link(),
            )


def _draw_changes() -> None:
    found = data.read(read_recent_changes, 5)
    if not found:
        st.caption("None yet. Settings, keys and prices changed here or on the command line appear with who and why.")
    for place, each in enumerate(found):
        with st.container(horizontal=True, wrap=False, vertical_alignment="center", key=f"change_{place}"):
            about = f"{each.who}, {fmt.ago(each.at, data.freshness().read_at)}"
            st.markdown(f"**{fmt.plain(each.title)}** by {fmt.plain(about)}  \n{fmt.plain(each.why)}", width="stretch")
            st.page_link(
                CHANGES,
                label="Open",
                icon=":material/arrow_forward:",
                icon_position="right",
                query_params={"at": str(each.at)},
            )


draw()

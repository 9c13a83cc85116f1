"""The controls of the view, and its keeping: the address decides, the session remembers it between pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from backend.reports.filters import DIMENSIONS, PRESETS
from pages.components import data
from pages.components.format import count, moment, plain
from pages.components.shell import quietly_failing
from pages.components.view import PARAMETERS, View, read_view

CUSTOM = "Custom"
_VIEW, _PAGE, _ENTRY = "_view", "_view_page", "_view_entry"


def load_view(page: str) -> View:
    """The view of this run. Coming to a page by its bare address keeps the view of the page before.

    The view held on arrival is remembered, so that going back to the bare address of the same page finds it again.
    """
    state = st.session_state
    held = {name: st.query_params.get_all(name) for name in PARAMETERS if name in st.query_params}
    arrived = state.get(_PAGE) != page
    view = read_view(held) if held else state.get(_VIEW if arrived else _ENTRY, View())
    if arrived:
        state[_PAGE], state[_ENTRY] = page, view
    state[_VIEW] = view
    return view


def keep_view() -> None:
    """Put the view into a bare address once the page is drawn: before, that is still the address of the page left."""
    view = current_view()
    if view.parameters() and not any(name in st.query_params for name in PARAMETERS):
        _write(view)


def leave(page: str) -> None:
    """Say that a page without a view is shown, so that the next one counts as arrived at."""
    st.session_state[_PAGE] = page


def current_view() -> View:
    """The view of this run."""
    view: View = st.session_state.get(_VIEW, View())
    return view


def change_view(view: View) -> None:
    """Put another view in the address; the run that follows shows it, the browser's Back undoes it."""
    st.session_state[_VIEW] = view
    if not view.parameters():
        st.session_state[_ENTRY] = view
    _write(view)


def _write(view: View) -> None:
    others = {name: st.query_params.get_all(name) for name in st.query_params if name not in PARAMETERS}
    st.query_params.from_dict({**others, **view.parameters()})


def draw_controls(view: View) -> None:
    """Range, group-by, comparison and the chooser of filters, in one row."""
    _seed(view)
    st.segmented_control(
        "Range",
        [*PRESETS, CUSTOM],
        key="view_range",
        required=True,
        label_visibility="collapsed",
        on_change=_on_range,
        width="content",
    )
    st.selectbox(
        "Group by",
        list(DIMENSIONS),
        key="view_group",
        format_func=lambda name: f"by {DIMENSIONS[name].lower()}",
        label_visibility="collapsed",
        on_change=_on_group,
        width=150,
        help="What charts and lists are split by, on every page.",
    )
    st.toggle("Compare", key="view_compare", on_change=_on_compare, help="Show the period before this one beside it.")
    with st.popover("Filter", icon=":material/filter_list:", width="content"), quietly_failing("Filters"):
        _draw_chooser(view)


def draw_chips(view: View) -> None:
    """Both ends of a custom range, and one chip per filter that removes it."""
    if view.custom:
        _draw_span(view)
    if not view.filters:
        return
    with st.container(horizontal=True, gap="small", key="filter_chips"):
        for dimension, values in view.filters.items():
            shown = ", ".join(data.name_value(dimension, value) for value in values[:3])
            more = f" and {len(values) - 3} more" if len(values) > 3 else ""
            label = f"{DIMENSIONS[dimension]}: {plain(shown[:60])}{more} :material/close:"
            st.button(label, key=f"chip_{dimension}", on_click=_remove, args=(dimension,), help="Remove this filter")
        st.button("Clear all", key="chip_all", type="tertiary", on_click=_clear)


def _seed(view: View) -> None:
    state = st.session_state
    state["view_range"] = CUSTOM if view.custom else view.range
    state["view_group"] = view.group
    state["view_compare"] = view.compare


def _on_range() -> None:
    view, chosen = current_view(), st.session_state["view_range"]
    if chosen == CUSTOM:
        scope = view.scope()
        change_view(view.spanning(scope.start_at, scope.end_at))
    elif chosen:
        change_view(replace(view, range=chosen))


def _on_group() -> None:
    change_view(replace(current_view(), group=st.session_state["view_group"]))


def _on_compare() -> None:
    change_view(replace(current_view(), compare=st.session_state["view_compare"]))


def _remove(dimension: str) -> None:
    change_view(current_view().narrowed(dimension))


def _clear() -> None:
    change_view(replace(current_view(), filters={}))


def _draw_chooser(view: View) -> None:
    dimension = st.selectbox("Filter by", list(DIMENSIONS), format_func=DIMENSIONS.__getitem__, key="filter_dimension")
    chosen = list(view.filters.get(dimension, ()))
    found = data.filter_values(view.scope(), dimension)
    names = {each.value: f"{each.name} · {count(each.calls)}" for each in found}
    key = f"filter_values_{dimension}"
    st.session_state[key] = chosen
    st.multiselect(
        DIMENSIONS[dimension],
        list(dict.fromkeys([*chosen, *names])),
        key=key,
        format_func=lambda value: names.get(value, value),
        placeholder="Any" if names else "No calls in this range",
        on_change=_choose,
        args=(dimension, key),
    )


def _choose(dimension: str, key: str) -> None:
    change_view(current_view().narrowed(dimension, *st.session_state[key]))


def _draw_span(view: View) -> None:
    zone = data.zone()
    start_at, end_at = view.custom or (0, 0)
    for key, at in (("span_start", start_at), ("span_end", end_at)):
        st.session_state[key] = moment(at, zone).replace(tzinfo=None)
    with st.container(horizontal=True, vertical_alignment="bottom", key="custom_span"):
        options: dict[str, Any] = {"on_change": _on_span, "step": timedelta(minutes=5), "width": 220}
        st.datetime_input("From", key="span_start", **options)
        st.datetime_input("To", key="span_end", **options)


def _on_span() -> None:
    zone = data.zone()
    start, end = (st.session_state[key] for key in ("span_start", "span_end"))
    ends = [int(each.replace(tzinfo=zone).timestamp() * 1000) for each in (start, end) if isinstance(each, datetime)]
    if len(ends) == 2 and ends[0] < ends[1]:
        change_view(current_view().spanning(*ends))

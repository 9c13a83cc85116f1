"""One deployment as a form, out of its declaration; what it says, in the form of the stored document."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.settings.knobs import OPENAI_COMPATIBLE, Deployment, PriceOverride, Simulation
from pages.components import format as fmt
from pages.components.knob import Knob, draw_knob, read_knobs, write_bounds

PROVIDERS = sorted({*OPENAI_COMPATIBLE, "simulated", "anthropic", "azure", "bedrock", "gemini", "mistral", "vertex_ai"})
NESTED: dict[str, type[PriceOverride | Simulation]] = {"price": PriceOverride, "simulation": Simulation}


def draw_form(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Every field of a deployment; nested ones unfold."""
    knobs = {knob.name: knob for knob in read_knobs(Deployment)}
    drawn = dict(values)
    with st.grid(2, min_column_width=240, gap="small") as grid:
        for name, knob in knobs.items():
            if name in NESTED:
                continue
            with grid.cell():
                drawn[name] = _draw_field(knob, values.get(name), f"{key}_{name}")
    for name, model in NESTED.items():
        if name != "simulation" or drawn["provider"] == "simulated":
            drawn[name] = _draw_nested(knobs[name], model, values.get(name), f"{key}_{name}")
        else:
            drawn[name] = None
    return drawn


def _draw_field(knob: Knob, value: Any, key: str) -> Any:
    st.markdown(f"**{fmt.plain(knob.title)}**", help=fmt.plain(f"{knob.description} {write_bounds(knob)}".strip()))
    if knob.name == "provider":
        options = list(dict.fromkeys([*([value] if value else []), *PROVIDERS]))
        place = options.index(value) if value else None
        return st.selectbox(
            knob.title, options, index=place, key=key, accept_new_options=True, label_visibility="collapsed"
        )
    return draw_knob(knob, knob.default if value is None and not knob.optional else value, key)


def _draw_nested(knob: Knob, model: type[Any], values: dict[str, Any] | None, key: str) -> dict[str, Any] | None:
    if not st.toggle(knob.title, value=values is not None, key=f"{key}_on", help=fmt.plain(knob.description)):
        return None
    drawn: dict[str, Any] = {}
    with st.grid(3, min_column_width=150, gap="small", border=False) as grid:
        for inner in read_knobs(model):
            with grid.cell():
                st.markdown(f"**{fmt.plain(inner.title)}**", help=fmt.plain(inner.description))
                held = (values or {}).get(inner.name, inner.default)
                drawn[inner.name] = draw_knob(inner, held, f"{key}_{inner.name}")
    return drawn

"""Every knob of every stage: change it here, and running gateways follow within a second."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.settings.document import dump
from backend.settings.knobs import RoutingSettings, Section, Settings
from pages.components import format as fmt
from pages.components.address import choose_section
from pages.components.knob import describe_knob, draw_knob, read_knobs
from pages.components.routes_editor import draw_routes
from pages.components.settings_form import Draft, draw_review, epoch, starting_version

ELSEWHERE = {"deployments"}


def draw() -> None:
    """The page: one section at a time, named by the address."""
    sections = {name: field for name, field in Settings.model_fields.items() if name not in ELSEWHERE}
    name = choose_section({name: field.title or name for name, field in sections.items()}, "section")
    st.caption(fmt.plain(sections[name].description or ""))
    based_on = starting_version(name)
    document = dump(based_on.settings)
    section = sections[name].annotation
    if not (isinstance(section, type) and issubclass(section, Section)):
        raise TypeError(f"{name} is not a section of knobs")
    draft = {**document, name: _draw_section(name, section, document[name])}
    draw_review(Draft(draft, based_on), name)


def _draw_section(name: str, section: type[Section], values: dict[str, Any]) -> dict[str, Any]:
    drawn = dict(values)
    for knob in read_knobs(section):
        key = f"knob_{name}_{knob.name}_{epoch()}"
        with st.container(border=True, key=f"row_{name}_{knob.name}"):
            if section is RoutingSettings and knob.name == "models":
                describe_knob(knob)
                drawn[knob.name] = draw_routes(values[knob.name], key)
                continue
            left, right = st.columns([5, 2], vertical_alignment="center")
            with left:
                describe_knob(knob)
            with right:
                drawn[knob.name] = draw_knob(knob, values[knob.name], key)
    return drawn


draw()

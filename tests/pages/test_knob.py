from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from streamlit.testing.v1 import AppTest

from backend.settings.document import dump, validate
from backend.settings.knobs import Deployment, PriceOverride, Section, Settings, Simulation
from pages.components.knob import read_knobs, write_bounds
from pages.components.routes_editor import write_weights

SECTIONS: list[Any] = [field.annotation for field in Settings.model_fields.values()]
MODELS: list[type[BaseModel]] = [each for each in SECTIONS if isinstance(each, type) and issubclass(each, Section)]


ALL: list[type[BaseModel]] = [*MODELS, Deployment, PriceOverride, Simulation]


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_every_field_of_every_section_says_what_it_is(model: type[BaseModel]) -> None:
    for knob in read_knobs(model):
        assert knob.title
        assert knob.description
        assert knob.kind is not None


def test_bounds_and_emptiness_come_from_the_declaration() -> None:
    knobs = {knob.name: knob for model in ALL for knob in read_knobs(model)}
    assert write_bounds(knobs["ttl_s"]) == "1 to 31,536,000"
    assert knobs["max_parallel"].optional
    assert knobs["max_parallel"].kind is int
    assert not knobs["ttl_s"].optional


def draw_section(section: str) -> None:

    import streamlit as st

    from backend.settings.document import dump as write
    from backend.settings.knobs import Settings as Document
    from pages.components.knob import draw_knob, read_knobs

    values = write(Document())[section]
    field: Any = Document.model_fields[section].annotation
    knobs = [knob for knob in read_knobs(field) if knob.name != "models"]
    st.session_state["drawn"] = {knob.name: draw_knob(knob, values[knob.name], knob.name) for knob in knobs}


@pytest.mark.parametrize("section", [name for name in Settings.model_fields if name != "deployments"])
def test_a_form_left_alone_says_what_is_in_force(section: str) -> None:
    app = AppTest.from_function(draw_section, args=(section,), default_timeout=60).run()
    assert not app.exception
    document = dump(Settings())
    drawn = {**document, section: {**document[section], **app.session_state["drawn"]}}
    assert dump(validate(drawn)) == document


def test_routes_are_written_as_they_are_typed() -> None:
    assert write_weights([{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]) == "a=3, b=1"

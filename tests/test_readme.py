"""The README says what the code says: its generated blocks are the code's own."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from backend.cli.readme import BLOCKS, README, draw_environment, draw_knobs, render
from backend.cli.type_names import name_bounds, name_default, name_type
from backend.environment import Environment
from backend.settings.knobs import Settings
from tests.sources import ROOT


def test_readme_is_up_to_date() -> None:
    text = README.read_text()
    assert render(text) == text, "run `make readme` and commit README.md"


def test_a_block_that_lost_its_markers_is_named() -> None:
    text = README.read_text().replace("<!-- knobs: end -->", "")
    with pytest.raises(LookupError, match="'knobs'"):
        render(text)


def test_an_edited_block_is_written_anew() -> None:
    text = README.read_text()
    edited = text.replace("<!-- tree: end -->", "backend/imaginary.py\n<!-- tree: end -->")
    assert render(edited) == render(text)


def test_every_section_and_every_field_of_it_has_a_row() -> None:
    rows = draw_knobs()
    sections = [(name, field.annotation) for name, field in Settings.model_fields.items()]
    named = [f"`{name}.{knob}`" for name, kind in sections for knob in getattr(kind, "model_fields", {})]
    missing = [path for path in named if path not in rows]
    assert named
    assert not missing


def test_every_knob_says_what_it_does() -> None:
    silent = [row for row in draw_knobs().splitlines() if row.endswith("|  |")]
    assert not silent


def test_every_environment_variable_is_in_the_table_and_in_the_example() -> None:
    variables = {f"GOVERNOR_{name.upper()}" for name in Environment.model_fields}
    example = set(re.findall(r"^#? ?(GOVERNOR_[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert example == variables
    assert all(f"`{name}`" in draw_environment() for name in variables)


def test_blocks_are_the_ones_the_readme_promises() -> None:
    assert set(re.findall(r"<!-- (\w+): begin", README.read_text())) == set(BLOCKS)


class Sample(BaseModel):
    share: float = Field(0.5, ge=0, lt=1)
    names: tuple[str, ...] = ()
    mode: Literal["off", "on"] = "off"
    limit: Annotated[int, Field(gt=0)] | None = None
    rate: Decimal
    strict: bool = True


@pytest.mark.parametrize(
    ("name", "kind", "default", "bounds"),
    [
        ("share", "number", "`0.5`", "≥ 0, < 1"),
        ("names", "list of text", "`[]`", ""),
        ("mode", "`off` or `on`", "`off`", ""),
        ("limit", "integer or none", "none", "> 0"),
        ("rate", "decimal", "required", ""),
        ("strict", "true or false", "`true`", ""),
    ],
)
def test_types_defaults_and_bounds_are_words(name: str, kind: str, default: str, bounds: str) -> None:
    field = Sample.model_fields[name]
    assert (name_type(field.annotation), name_default(field), name_bounds(field)) == (kind, default, bounds)

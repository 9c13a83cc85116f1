"""One knob as a widget, out of its declaration: title, description, bounds, choices and when it applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pages.components import format as fmt


@dataclass(frozen=True, slots=True)
class Knob:
    """What a widget needs to know of one field."""

    name: str
    title: str
    description: str
    kind: Any
    optional: bool
    default: Any
    applies: str | None
    bounds: Mapping[str, Any]


def read_knobs(section: type[BaseModel]) -> list[Knob]:
    """The knobs of a section, in the order of their declaration."""
    return [_read(name, field) for name, field in section.model_fields.items()]


def _read(name: str, field: FieldInfo) -> Knob:
    kind, optional = _unwrap(field.annotation)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = None if field.default is PydanticUndefined else field.default
    applies = extra.get("applies")
    return Knob(
        name,
        field.title or name,
        field.description or "",
        kind,
        optional,
        default,
        str(applies) if applies else None,
        _bounds(field),
    )


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """The type without ``Annotated`` and ``None``; whether it may be left empty."""
    if get_origin(annotation) is Annotated:
        return _unwrap(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        members = [each for each in get_args(annotation) if each is not NoneType]
        optional = len(members) < len(get_args(annotation))
        return (_unwrap(members[0])[0] if len(members) == 1 else str), optional
    return annotation, False


def _bounds(field: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in field.metadata:
        if isinstance(item, annotated_types.Ge | annotated_types.Gt):
            found["min"] = getattr(item, "ge", None) if isinstance(item, annotated_types.Ge) else item.gt
        elif isinstance(item, annotated_types.Le | annotated_types.Lt):
            found["max"] = getattr(item, "le", None) if isinstance(item, annotated_types.Le) else item.lt
    return found


def write_bounds(knob: Knob) -> str:
    """The bounds as words: ``1 to 10``."""
    low, high = knob.bounds.get("min"), knob.bounds.get("max")
    if low is None or high is None:
        return "" if low == high else f"from {low:,}" if high is None else f"up to {high:,}"
    return f"{low:,} to {high:,}"


def draw_knob(knob: Knob, value: Any, key: str) -> Any:
    """The widget that holds ``value``; what it says, in the form of the stored document."""
    draw = _WIDGETS.get(_family(knob.kind), _draw_text)
    return draw(knob, value, key)


def describe_knob(knob: Knob) -> None:
    """Title and meaning, for the left side of a form."""
    notes = [
        part
        for part in (knob.description, write_bounds(knob), knob.applies if knob.applies != "at once" else None)
        if part
    ]
    st.markdown(f"**{fmt.plain(knob.title)}** :gray-badge[{knob.name}]  \n:gray[{fmt.plain(' · '.join(notes))}]")


def _family(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "choice"
    if get_origin(kind) is tuple:
        return "lines"
    return kind.__name__ if isinstance(kind, type) else "str"


def _draw_choice(knob: Knob, value: Any, key: str) -> Any:
    options = list(get_args(knob.kind))
    place = options.index(value) if value in options else 0
    return st.selectbox(knob.title, options, index=place, key=key, label_visibility="collapsed")


def _draw_toggle(knob: Knob, value: Any, key: str) -> Any:
    return st.toggle(knob.title, value=bool(value), key=key, label_visibility="collapsed")


def _draw_integer(knob: Knob, value: Any, key: str) -> Any:
    low, high = knob.bounds.get("min"), knob.bounds.get("max")
    return st.number_input(
        knob.title,
        value=None if value is None else int(value),
        min_value=None if low is None else int(low),
        max_value=None if high is None else int(high),
        step=1,
        key=key,
        placeholder="none" if knob.optional else None,
        label_visibility="collapsed",
    )


def _draw_decimal(knob: Knob, value: Any, key: str) -> Any:
    low, high = knob.bounds.get("min"), knob.bounds.get("max")
    return st.number_input(
        knob.title,
        value=None if value is None else float(value),
        min_value=None if low is None else float(low),
        max_value=None if high is None else float(high),
        step=0.1 if high is not None and high <= 2 else 1.0,
        format="%g",
        key=key,
        label_visibility="collapsed",
    )


def _draw_money(knob: Knob, value: Any, key: str) -> Any:
    """Typed as text: a price must not pass through a binary fraction."""
    text = "" if value is None else f"{Decimal(str(value)).normalize():f}"
    hint = "none" if knob.optional else "0"
    typed = st.text_input(
        knob.title, text, key=key, icon=":material/attach_money:", placeholder=hint, label_visibility="collapsed"
    )
    return typed.strip() or None


def _draw_text(knob: Knob, value: Any, key: str) -> Any:
    typed = st.text_input(
        knob.title,
        str(value or ""),
        key=key,
        placeholder="none" if knob.optional else None,
        label_visibility="collapsed",
    )
    return typed.strip() or (None if knob.optional else "")


def _draw_lines(knob: Knob, value: Any, key: str) -> Any:
    text = "\n".join(value or ())
    typed = st.text_area(knob.title, text, key=key, height=90, placeholder="One per line", label_visibility="collapsed")
    return [line.strip() for line in typed.splitlines() if line.strip()]


_WIDGETS: Mapping[str, Callable[[Knob, Any, str], Any]] = {
    "choice": _draw_choice,
    "bool": _draw_toggle,
    "int": _draw_integer,
    "float": _draw_decimal,
    "Decimal": _draw_money,
    "lines": _draw_lines,
    "str": _draw_text,
}

"""Types, defaults and bounds of a knob in words a person reads."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

PLAIN = {bool: "true or false", int: "integer", float: "number", Decimal: "decimal", str: "text", Path: "path"}
SIGNS = {
    "ge": "≥",
    "gt": ">",
    "le": "≤",
    "lt": "<",
    "min_length": "length ≥",
    "max_length": "length ≤",
    "pattern": "like",
}


def name_type(kind: Any) -> str:
    """A type as words: ``integer``, ``a, b or c``, ``list of text``, ``number or none``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in {Union, types.UnionType}:
        return " or ".join(name_type(part) for part in inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"map of {name_type(inner[0])} to {name_type(inner[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence | frozenset | set):
        return f"list of {name_type(inner[0])}"
    return _name_plain(kind, inner)


def inner_model(kind: Any) -> type[BaseModel] | None:
    """The document a type consists of, alone, as an option or in a list; none for plain values."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for part in get_args(kind) if (found := inner_model(part))), None)


def _name_plain(kind: Any, inner: tuple[Any, ...]) -> str:
    if kind is type(None):
        return "none"
    if hasattr(kind, "__metadata__"):
        return name_type(inner[0])
    return PLAIN.get(kind) or str(getattr(kind, "__name__", kind))


def name_default(knob: FieldInfo) -> str:
    """The default as it would be written in a settings file; ``required`` where there is none."""
    value = knob.get_default(call_default_factory=True) if not knob.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, tuple | list | Mapping) and value:
        return f"{len(value)} entries"
    return "none" if value is None else f"`{_name_value(value)}`"


def _name_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[]"
    return str(value) or '""'


def name_bounds(knob: FieldInfo) -> str:
    """The bounds of a knob, such as ``≥ 1, ≤ 20``; empty where there are none."""
    rules = [*knob.metadata, *_option_rules(knob.annotation)]
    limits = [(sign, getattr(rule, name, None)) for rule in rules for name, sign in SIGNS.items()]
    return ", ".join(f"{sign} {_name_limit(limit)}" for sign, limit in limits if limit is not None)


def _option_rules(kind: Any) -> list[Any]:
    """The rules inside ``Annotated[int, Gt(0)] | None``, whether Pydantic keeps them as a field or one by one."""
    annotated = [part for part in get_args(kind) if hasattr(part, "__metadata__")]
    found = [rule for part in annotated for rule in part.__metadata__]
    return [inner for rule in found for inner in (rule.metadata if isinstance(rule, FieldInfo) else [rule])]


def _name_limit(limit: Any) -> str:
    return f"`{limit}`" if isinstance(limit, str) else f"{limit:,}".replace(",", " ")

"""What a section of settings is, and how one knob is declared."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Applies = Literal["at once", "after engine restart"]


class Section(BaseModel):
    """A frozen group of knobs; an unknown name is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=False)


def knob(default: Any, title: str, description: str, *, applies: Applies = "at once", **bounds: Any) -> Any:
    """One knob: its default, title, description, bounds (Pydantic's ``ge``, ``le`` …) and when a change applies."""
    where = "default_factory" if callable(default) else "default"
    extra: dict[str, Any] = {"applies": applies}
    return Field(**{where: default}, title=title, description=description, json_schema_extra=extra, **bounds)

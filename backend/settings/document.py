"""Between stored text and settings: validate what people write, read what older releases wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from backend.errors import InvalidSettings
from backend.settings.knobs import Settings


class UnreadableSettings(Exception):
    """A stored document that this release cannot put in force; the message names the knobs."""


def validate(values: Settings | Mapping[str, Any]) -> Settings:
    """Settings that keep every bound; raises ``InvalidSettings`` naming each knob that does not, never its value."""
    document = values.model_dump() if isinstance(values, Settings) else dict(values)
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise InvalidSettings(describe(error, document)) from None


def dump(settings: Settings) -> dict[str, Any]:
    """The whole document as plain JSON data."""
    return settings.model_dump(mode="json")


def load(text: str) -> tuple[Settings, tuple[str, ...]]:
    """Settings out of stored text, with a note for each knob that this release no longer has.

    Knobs that are gone are dropped, because a start must not depend on them; a value out of bounds is never
    guessed at. Raises ``UnreadableSettings``.
    """
    try:
        document = orjson.loads(text)
        gone = _drop_unknown(document)
        return Settings.model_validate(document), tuple(f"{path} is no longer a knob; ignored" for path in gone)
    except ValidationError as error:
        raise UnreadableSettings("; ".join(f"{path}: {text}" for path, text in describe(error, document))) from None
    except (ValueError, TypeError, LookupError) as error:
        raise UnreadableSettings(f"not a settings document: {error}") from None


def describe(error: ValidationError, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each problem as (path, sentence); the values themselves stay out, they may be secrets pasted by mistake."""
    return [(_path(each["loc"], document), _sentence(each["type"], each["msg"])) for each in error.errors()]


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown name"
    return message.removeprefix("Value error, ")


def _path(location: tuple[int | str, ...], document: Any) -> str:
    path = ""
    for step in location:
        document, label = _descend(document, step)
        path += f"[{label}]" if isinstance(step, int) else f".{label}"
    return path.removeprefix(".")


def _descend(document: Any, step: int | str) -> tuple[Any, int | str]:
    if isinstance(document, list | tuple) and isinstance(step, int) and step < len(document):
        member = document[step]
        name = member.get("name") or member.get("model") if isinstance(member, Mapping) else None
        return member, name if isinstance(name, str) else step
    return document.get(step) if isinstance(document, Mapping) else None, step


def _drop_unknown(document: dict[str, Any]) -> list[str]:
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        unknown = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        paths = [_path(location, document) for location in unknown]
        for location in unknown:
            _remove(document, location)
        return paths
    return []


def _remove(document: Any, location: tuple[int | str, ...]) -> None:
    for step in location[:-1]:
        document = document[step]
    del document[location[-1]]

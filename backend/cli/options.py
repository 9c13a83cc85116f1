"""A command with many options takes them as one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def spread(kind: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Turns a command that takes one dataclass into what typer reads: one option per field."""
    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]

    def decorate(command: Callable[[Options], None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            command(kind(**values))

        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__annotations__ = hints
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate

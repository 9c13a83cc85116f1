"""What every table is declared with: the one metadata, and many columns of one kind at once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, MetaData

metadata = MetaData()


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    """Columns of one type with these names, separated by spaces."""
    return [Column(name, kind, **options) for name in names.split()]

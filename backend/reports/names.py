"""What people call a value: keys by their name, the empty value as unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from db.bounded import Connection
from db.call_reads import read_key_names

UNKNOWN = "(none)"
OTHER = "Other"


def read_names(connection: Connection) -> dict[str, str]:
    """Names of keys by id; those that share a name end in a part of their id, or a chart would join them."""
    names = read_key_names(connection)
    used = Counter(names.values())
    return {key: name if used[name] == 1 else f"{name} ({key[-4:]})" for key, name in names.items()}


def name_of(dimension: str, value: str, names: Mapping[str, str]) -> str:
    """The name shown for a value of a dimension."""
    if not value:
        return UNKNOWN
    return names.get(value, value) if dimension == "key_id" else value

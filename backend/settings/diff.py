"""What differs between two settings documents: one change per knob, and a unified text for reading."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

NAMES = ("name", "model")
"""Fields that name the members of a list of objects, in the order they are tried."""


class KnobChange(TypedDict):
    """One knob that changed; ``before`` or ``after`` is None where there was or is nothing."""

    path: str
    before: Any
    after: Any


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[KnobChange]:
    """The knobs that differ, by path: ``cache.ttl_s``, ``deployments[local].weight``; empty for equal documents."""
    return list(_compare_objects("", before, after))


def write_unified(before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The difference as a unified diff of the documents in YAML; empty for equal documents."""
    import yaml  # noqa: PLC0415 - a gateway never needs it, and importing it takes a tenth of a second

    texts = [yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True) for document in (before, after)]
    lines = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), *names, lineterm="")
    return "\n".join(lines)


def _compare(path: str, before: Any, after: Any) -> Iterator[KnobChange]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _compare_objects(path, before, after)
        return
    key = _naming_field(before, after)
    if key:
        yield from _compare_members(path, *({member[key]: member for member in side} for side in (before, after)))
    elif before != after:
        yield KnobChange(path=path, before=before, after=after)


def _compare_objects(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[KnobChange]:
    for name in {**before, **after}:
        yield from _compare(f"{path}.{name}" if path else name, before.get(name), after.get(name))


def _compare_members(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[KnobChange]:
    for name in {**before, **after}:
        yield from _compare(f"{path}[{name}]", before.get(name), after.get(name))
    kept = [[name for name in side if name in other] for side, other in ((before, after), (after, before))]
    if kept[0] != kept[1]:
        yield KnobChange(path=path, before=list(before), after=list(after))


def _naming_field(before: Any, after: Any) -> str | None:
    """The field that names every member of both lists, each once; None when there is none."""
    if not (isinstance(before, list) and isinstance(after, list)) or not (before or after):
        return None
    return next((name for name in NAMES if _names_all(name, before) and _names_all(name, after)), None)


def _names_all(field: str, members: list[Any]) -> bool:
    names = [member.get(field) for member in members if isinstance(member, Mapping)]
    return len(names) == len(members) == len({name for name in names if isinstance(name, str)})

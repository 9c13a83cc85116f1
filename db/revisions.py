"""Counters that tell running workers what changed: one per noun, bumped with the change itself."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, func, literal, select, text, union_all

from db.engine import reading
from db.tables import revisions, settings_versions

_BUMP = text(
    "INSERT INTO revisions (noun, revision) VALUES (:noun, 1) "
    "ON CONFLICT (noun) DO UPDATE SET revision = revisions.revision + 1"
)
_MARKS = union_all(
    select(literal("settings").label("noun"), func.coalesce(func.max(settings_versions.c.version), 0).label("mark")),
    select(revisions.c.noun, revisions.c.revision),
)


def bump(connection: Connection, noun: str) -> None:
    """Count one change of ``noun`` (keys, prices, cache_labels); commit it together with the change."""
    connection.execute(_BUMP, {"noun": noun})


def read_marks(engine: Engine) -> dict[str, int]:
    """The newest settings version under ``settings`` and every noun's revision, in one query."""
    with reading(engine) as connection:
        return {row.noun: row.mark for row in connection.execute(_MARKS)}

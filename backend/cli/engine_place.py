"""Which engine a command means, and where it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from backend.cli.database import opened_current, read_settled_environment
from backend.cli.output import CommandFailed, say

if TYPE_CHECKING:
    from backend.engine.health import Place
    from backend.settings.knobs import EngineSpec


def spec_of(name: str) -> EngineSpec:
    """The specification of an engine. Raises ``CommandFailed``."""
    from backend.settings import store

    with opened_current() as engine:
        specs = {spec.name: spec for spec in store.current(engine).settings.engine.engines}
    if name not in specs:
        raise CommandFailed(f"There is no engine {name}; known: {', '.join(specs) or 'none'}.")
    return specs[name]


def spec_served(name: str) -> EngineSpec:
    """What an engine runs with now, which what is staged does not change; what it would be launched with else.

    Raises ``CommandFailed``.
    """
    from backend.engine.journal import read_spec
    from db.engine import reading
    from db.engines import read_engine

    spec = spec_of(name)
    with opened_current() as engine, reading(engine) as connection:
        row = read_engine(connection, name)
    launched = read_spec(row.launched) if row is not None and row.state == "ready" else None
    return launched or spec


def place_of(engine: Any, spec: EngineSpec) -> Place:
    """Where an engine answers now. Raises ``CommandFailed`` when it does not run."""
    from backend.engine.attached import place_of as attached_place
    from backend.engine.health import Place
    from backend.settings.store import current
    from db.engine import reading
    from db.engines import read_engine

    if spec.kind == "attached":
        return attached_place(spec)
    with reading(engine) as connection:
        row = read_engine(connection, spec.name)
    if row is None or row.state != "ready" or row.port is None:
        raise CommandFailed(f"{spec.name} does not run. `governor engine start {spec.name}` starts it.")
    known = {each.name: each.base_url for each in current(engine).settings.deployments}
    return Place(known.get(spec.name) or f"http://127.0.0.1:{row.port}/v1", spec.served)


@contextmanager
def served(name: str) -> Iterator[Place]:
    """An engine of the settings: the running one, else one launched for the moment."""
    from backend.engine.scratch import NotStarted, launched

    spec = spec_of(name)
    with opened_current() as engine:
        try:
            found = place_of(engine, spec)
        except CommandFailed:
            found = None
    if found is not None:
        yield found
        return
    say(f"{name} does not run; it is launched for the moment …")
    try:
        with launched(spec, read_settled_environment().data_dir / "engines" / name / "scratch") as place:
            yield place
    except NotStarted as error:
        raise CommandFailed(str(error)) from None

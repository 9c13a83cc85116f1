"""What people ask of engines: start, stop, restart, apply, add, change, remove; each signed and audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from backend.call import new_id
from backend.engine.deployments import own_deployments
from backend.engine.journal import now_ms
from backend.errors import BadRequest, Conflict, NotFound
from backend.settings.document import dump
from backend.settings.knobs import EngineSpec, Settings
from backend.settings.signature import Signature
from backend.settings.store import Change, Version, apply_partial, current
from db.audit import AuditRow, insert_act
from db.engine import Engine, writing
from db.engines import Wish, read_engine, write_wish


def start_engine(engine: Engine, name: str, by: Signature) -> None:
    """Want it to run; at once where it waits after a failure. Raises ``NotFound``."""
    _find(engine, name)
    _want(engine, name, ("running", "start"), by)


def stop_engine(engine: Engine, name: str, by: Signature) -> None:
    """Want it stopped; its deployment stays, and calls to it fall back or fail. Raises ``NotFound``."""
    _find(engine, name)
    _want(engine, name, ("stopped", ""), by)


def restart_engine(engine: Engine, name: str, by: Signature) -> None:
    """Have it end and start with what it was launched with. Raises ``NotFound`` and ``BadRequest``."""
    _refuse_attached(_find(engine, name), "restarted")
    _want(engine, name, ("running", "restart"), by)


def apply_engine(engine: Engine, name: str, by: Signature) -> None:
    """Have it run with what is staged, measured before and after. Raises ``NotFound`` and ``BadRequest``."""
    _refuse_attached(_find(engine, name), "changed")
    _want(engine, name, ("running", "apply"), by)


def add_engine(engine: Engine, values: Mapping[str, Any], by: Signature) -> Version:
    """Put a new engine in the settings; an attached one is watched at once.

    Raises ``Conflict`` when the name is taken, ``InvalidSettings`` on values that make no engine.
    """

    def append(settings: Settings) -> dict[str, Any]:
        name = values.get("name")
        if any(spec.name == name for spec in settings.engine.engines):
            raise Conflict(f"There is an engine {name} already.")
        section = dump(settings)["engine"]
        return {"engine": section | {"engines": [*section["engines"], dict(values)]}}

    version = _change(engine, append, by)
    if values.get("kind") == "attached":
        _want(engine, str(values["name"]), ("running", ""), by)
    return version


def change_engine(engine: Engine, name: str, values: Mapping[str, Any], by: Signature) -> Version:
    """Change knobs of an engine: some apply at once, others are staged. Raises ``NotFound``, ``InvalidSettings``."""
    _find(engine, name)

    def update(settings: Settings) -> dict[str, Any]:
        section = dump(settings)["engine"]
        changed = [spec | values if spec["name"] == name else spec for spec in section["engines"]]
        return {"engine": section | {"engines": changed}}

    return _change(engine, update, by)


def remove_engine(engine: Engine, name: str, by: Signature) -> Version:
    """Take an engine and its deployments out of the settings; its keeper ends it.

    Raises ``NotFound``, and ``InvalidSettings`` where a route still names one of its deployments.
    """
    spec = _find(engine, name)
    own = {each.name for each in own_deployments(spec, "http://127.0.0.1/v1")}

    def drop(settings: Settings) -> dict[str, Any]:
        document = dump(settings)
        section = document["engine"]
        kept = [each for each in section["engines"] if each["name"] != name]
        deployments = [each for each in document["deployments"] if each["name"] not in own]
        return {"engine": section | {"engines": kept}, "deployments": deployments}

    return _change(engine, drop, by)


def _change(engine: Engine, compose: Callable[[Settings], dict[str, Any]], by: Signature) -> Version:
    found = current(engine)
    return apply_partial(engine, Change(compose(found.settings), by, found.version))


def _find(engine: Engine, name: str) -> EngineSpec:
    specs = current(engine).settings.engine.engines
    found = next((spec for spec in specs if spec.name == name), None)
    if found is None:
        known = ", ".join(spec.name for spec in specs) or "none"
        raise NotFound(f"There is no engine {name}; known: {known}.")
    return found


def _refuse_attached(spec: EngineSpec, verb: str) -> None:
    if spec.kind == "attached":
        raise BadRequest(f"{spec.name} is attached: it is {verb} where it runs.", param="name")


def _want(engine: Engine, name: str, wish: tuple[str, str], by: Signature) -> None:
    wanted, request = wish
    now = now_ms()
    with writing(engine) as connection:
        before = read_engine(connection, name)
        moment = max(now, before.wanted_at + 1) if before else now
        write_wish(connection, Wish(name, wanted, request, by.actor, by.reason, moment))
        said = orjson.dumps({"wanted": wanted, "request": request}).decode()
        action = f"engine.{request or ('start' if wanted == 'running' else 'stop')}"
        insert_act(connection, AuditRow(new_id(), now, by.actor, action, name, by.reason, said))

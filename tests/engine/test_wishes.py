from __future__ import annotations

from typing import Any

import pytest

from backend.actions import list_changes
from backend.engine import wishes
from backend.errors import BadRequest, Conflict, InvalidSettings, NotFound
from backend.settings.knobs import EngineSpec
from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial, current
from db.engine import Engine, reading
from db.engines import EngineRow, read_engine

BY = Signature("ada", "a test")
SMALL = {"name": "small", "model": "models/small"}
NEAR = {"name": "near", "kind": "attached", "server": "ollama", "model": "qwen3", "base_url": "http://gpu:11434/v1"}


def row(engine: Engine, name: str) -> EngineRow:
    with reading(engine) as connection:
        found = read_engine(connection, name)
    assert found is not None
    return found


def specs(engine: Engine) -> dict[str, EngineSpec]:
    return {spec.name: spec for spec in current(engine).settings.engine.engines}


@pytest.mark.parametrize(
    ("act", "wanted", "request_"),
    [
        (wishes.start_engine, "running", "start"),
        (wishes.stop_engine, "stopped", ""),
        (wishes.restart_engine, "running", "restart"),
        (wishes.apply_engine, "running", "apply"),
    ],
)
def test_a_wish_is_written_down_and_audited(engine: Engine, act: Any, wanted: str, request_: str) -> None:
    wishes.add_engine(engine, SMALL, BY)
    act(engine, "small", BY)
    found = row(engine, "small")
    assert (found.wanted, found.request, found.actor, found.reason) == (wanted, request_, "ada", "a test")
    last = list_changes(engine)[0]
    assert (last.action, last.subject, last.actor) == (f"engine.{request_ or 'stop'}", "small", "ada")


def test_a_later_wish_replaces_an_earlier_one_even_within_a_millisecond(engine: Engine) -> None:
    wishes.add_engine(engine, SMALL, BY)
    wishes.start_engine(engine, "small", BY)
    first = row(engine, "small")
    wishes.stop_engine(engine, "small", BY)
    second = row(engine, "small")
    assert second.wanted == "stopped"
    assert second.wanted_at > first.wanted_at


@pytest.mark.parametrize("act", [wishes.start_engine, wishes.stop_engine, wishes.restart_engine, wishes.remove_engine])
def test_nobody_wants_anything_of_an_engine_that_is_not_there(engine: Engine, act: Any) -> None:
    wishes.add_engine(engine, SMALL, BY)
    with pytest.raises(NotFound, match="no engine big; known: small"):
        act(engine, "big", BY)


def test_an_attached_engine_is_watched_at_once_and_left_to_its_owner(engine: Engine) -> None:
    wishes.add_engine(engine, NEAR, BY)
    assert row(engine, "near").wanted == "running"
    with pytest.raises(BadRequest, match="restarted where it runs"):
        wishes.restart_engine(engine, "near", BY)
    with pytest.raises(BadRequest, match="changed where it runs"):
        wishes.apply_engine(engine, "near", BY)


def test_a_name_is_taken_once(engine: Engine) -> None:
    wishes.add_engine(engine, SMALL, BY)
    with pytest.raises(Conflict, match="engine small already"):
        wishes.add_engine(engine, SMALL, BY)


def test_values_that_make_no_engine_change_nothing(engine: Engine) -> None:
    with pytest.raises(InvalidSettings, match="max_num_seqs"):
        wishes.add_engine(engine, SMALL | {"max_num_seqs": 0}, BY)
    wishes.add_engine(engine, SMALL, BY)
    with pytest.raises(InvalidSettings, match="allow-list"):
        wishes.change_engine(engine, "small", {"extra_args": ["--trust-remote-code"]}, BY)
    assert specs(engine) == {"small": EngineSpec(**SMALL)}


def test_a_change_touches_one_engine_only(engine: Engine) -> None:
    wishes.add_engine(engine, SMALL, BY)
    wishes.add_engine(engine, NEAR, BY)
    wishes.change_engine(engine, "small", {"max_num_seqs": 7}, BY)
    assert specs(engine)["small"].max_num_seqs == 7
    assert specs(engine)["near"] == EngineSpec(**NEAR)


def test_an_engine_that_a_route_needs_is_not_removed(engine: Engine) -> None:
    wishes.add_engine(engine, SMALL, BY)
    deployments = [{"name": "small", "model": "small", "provider": "vllm", "base_url": "http://127.0.0.1:1/v1"}]
    routing = {"default_fallbacks": ["small"]}
    apply_partial(engine, Change({"deployments": deployments, "routing": routing}, BY))
    with pytest.raises(InvalidSettings, match="unknown deployments: small"):
        wishes.remove_engine(engine, "small", BY)
    apply_partial(engine, Change({"routing": {}}, BY))
    wishes.remove_engine(engine, "small", BY)
    assert specs(engine) == {}
    assert current(engine).settings.deployments == ()

from __future__ import annotations

from typing import Any

import pytest

from backend.engine.deployments import merge_deployments, point_deployments
from backend.settings.knobs import Deployment, EngineSpec
from backend.settings.signature import Signature
from backend.settings.store import current
from db.engine import Engine

URL = "http://127.0.0.1:8100/v1"
BY = Signature("keeper", "kept running")


def spec(**changes: Any) -> EngineSpec:
    return EngineSpec(**({"name": "small", "model": "models/small"} | changes))


def test_an_engine_becomes_a_deployment_and_each_adapter_one_more() -> None:
    adapters = [{"name": "sql", "path": "adapters/sql"}]
    found = merge_deployments((), spec(max_running=4, lora_modules=adapters), URL)
    assert [(each.name, each.model, each.upstream_model, each.max_parallel) for each in found] == [
        ("small", "small", "small", 4),
        ("small-sql", "sql", "sql", 4),
    ]
    assert {(each.provider, each.base_url) for each in found} == {("vllm", URL)}


def test_what_people_set_on_a_deployment_stays_when_the_engine_moves() -> None:
    known = Deployment(name="small", model="chat", provider="vllm", base_url="http://127.0.0.1:1/v1", weight=7)
    other = Deployment(name="other", model="x")
    found = merge_deployments((other, known), spec(), URL)
    assert found == (other, known.model_copy(update={"base_url": URL, "upstream_model": "small"}))


def test_nothing_is_saved_when_the_deployment_leads_there_already(engine: Engine) -> None:
    assert point_deployments(engine, spec(), URL, BY)
    version = current(engine).version
    assert not point_deployments(engine, spec(), URL, BY)
    assert current(engine).version == version
    assert (current(engine).actor, current(engine).reason) == ("keeper", "kept running")


@pytest.mark.parametrize("server", ["tgi", "ollama", "sglang"])
def test_attached_servers_are_deployments_of_their_kind(server: str) -> None:
    attached = spec(kind="attached", server=server, base_url="http://gpu:1/v1", api_key_env="ENGINE_KEY")
    (found,) = merge_deployments((), attached, "http://gpu:1/v1")
    assert (found.provider, found.model, found.api_key_env) == (server, "models/small", "ENGINE_KEY")

"""Routes that cost nothing: models as far as a key may use them, health that tells the truth."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest

from backend.call import Identity
from backend.errors import Forbidden, GatewayError, MethodNotAllowed, ModelNotFound, NotFound, Unauthenticated
from backend.gateway.control import Control
from backend.gateway.views import View, Views
from tests.fakes import Scene, deployment, scene, settings, whole

DOCUMENT = settings(
    deployment("one", model="m"),
    deployment("two", model="m"),
    deployment("odd", model="a/b:c@d"),
    deployment("any"),
    routing={"models": [{"model": "routed", "fallbacks": ["one"]}]},
)


def stage(*models: str) -> Scene:
    found = scene([whole()], document=DOCUMENT)
    found.keys.identity = Identity("t", "k", models=models)
    return found


async def get(found: Scene, path: str, method: str = "GET", headers: dict[bytes, bytes] | None = None) -> View:
    return await Views(found.gateway, cast("Control", None)).answer(method, path, headers or {}, b"")


async def models(found: Scene) -> list[dict[str, Any]]:
    document: dict[str, Any] = orjson.loads((await get(found, "/v1/models")).body)
    assert document["object"] == "list"
    return list(document["data"])


async def test_every_model_that_can_be_named_is_listed_once() -> None:
    listed = await models(stage())
    assert [model["id"] for model in listed] == ["routed", "m", "a/b:c@d"]
    assert all(model.keys() == {"id", "object", "created", "owned_by"} for model in listed)
    assert {model["owned_by"] for model in listed} == {"governor", "openai"}


async def test_a_key_sees_only_what_it_may_use() -> None:
    found = stage("m")
    assert [model["id"] for model in await models(found)] == ["m"]
    with pytest.raises(ModelNotFound):
        await get(found, "/v1/models/routed")
    assert orjson.loads((await get(found, "/v1/models/m")).body)["id"] == "m"


@pytest.mark.parametrize("path", ["/v1/models/a/b:c@d", "/v1/models/a%2Fb:c@d", "/models/a/b:c@d"])
async def test_a_model_is_found_whatever_its_name(path: str) -> None:
    assert orjson.loads((await get(stage(), path)).body)["id"] == "a/b:c@d"


async def test_models_are_not_shown_to_strangers() -> None:
    found = stage()
    found.keys.refusal = Unauthenticated("no")
    for path in ("/v1/models", "/v1/models/m"):
        with pytest.raises(Unauthenticated):
            await get(found, path)
    found.keys.refusal = None
    found.keys.identity = Identity("local")
    with pytest.raises(Forbidden):
        await get(found, "/v1/models", headers={b"host": b"evil.example"})


@pytest.mark.parametrize(("room", "draining", "status"), [(True, False, 200), (False, False, 503), (True, True, 503)])
async def test_ready_means_that_a_call_would_be_billed(room: bool, draining: bool, status: int) -> None:
    found = stage()
    found.ledger.room, found.gateway.draining = room, draining
    for path in ("/health", "/health/readiness"):
        view = await get(found, path)
        told = orjson.loads(view.body)
        assert (view.status, told["can_bill"], told["draining"]) == (status, room, draining)
        assert told["settings_version"] == 1
    for path in ("/health/liveliness", "/health/liveness", "/healthz"):
        assert (await get(found, path)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/nothing", NotFound),
        ("GET", "/v1", NotFound),
        ("GET", "/v1/models/", ModelNotFound),
        ("GET", "/v1/models/none", ModelNotFound),
        ("POST", "/v1/models", MethodNotAllowed),
        ("DELETE", "/health", MethodNotAllowed),
        ("PUT", "/metrics", MethodNotAllowed),
        ("POST", "/nothing", NotFound),
    ],
)
async def test_what_is_not_there_is_not_there(method: str, path: str, error: type[GatewayError]) -> None:
    with pytest.raises(error):
        await get(stage(), path, method)


async def test_metrics_are_shown_in_the_format_they_have() -> None:
    view = await get(stage(), "/metrics")
    assert (view.status, view.content_type, view.body) == (200, "text/plain", b"calls_total 1\n")

"""The routes that cost nothing: models, health, metrics, control."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from backend.call import Identity
from backend.errors import MethodNotAllowed, ModelNotFound, NotFound
from backend.gateway.batch_api import BatchApi, BatchRequest, read_file
from backend.gateway.control import Control
from backend.gateway.control_request import ControlRequest
from backend.gateway.gateway import Gateway, refuse_foreign_page

if TYPE_CHECKING:
    from backend.settings.knobs import GatewaySettings, Settings

_JSON = "application/json"
_STARTED = int(time.time())


@dataclass(slots=True, frozen=True)
class View:
    """A response that is known as a whole, or a file of ``size`` bytes in parts."""

    status: int
    body: bytes
    content_type: str = _JSON
    parts: AsyncGenerator[bytes] | None = None
    size: int = 0


class Views:
    """Answers the routes outside the pipeline; none of them reaches a deployment."""

    def __init__(self, gateway: Gateway, control: Control, batches: BatchApi | None = None) -> None:
        self._gateway = gateway
        self._control = control
        self._batches = batches

    @contextmanager
    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Iterator[GatewaySettings]:
        """How large and slow a body on this path may be; raises ``GatewayError`` for an upload that may not be."""
        if self._batches is None:
            yield self._gateway.settings.current.settings.gateway
            return
        with self._batches.admit(method, path, headers) as limits:
            yield limits

    async def answer(
        self, method: str, path: str, headers: Mapping[bytes, bytes], body: bytes, query: bytes = b""
    ) -> View:
        """The view of a path; raises ``GatewayError``."""
        if self._batches is not None and self._batches.knows(path):
            found = await self._batches.answer(BatchRequest(method, path, query, headers, body))
            if isinstance(found, dict):
                return _show(found)
            return View(200, b"", "application/octet-stream", read_file(found), found.row.size)
        if path.startswith("/control/"):
            reply = await self._control.answer(ControlRequest(method, path, headers, body))
            return View(reply.status, orjson.dumps(reply.body))
        view = self._find(path, headers)
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed("Use GET.")
        return view

    def _find(self, path: str, headers: Mapping[bytes, bytes]) -> View:
        if path in ("/health/liveliness", "/health/liveness", "/healthz"):
            return View(200, b'{"status":"alive"}')
        if path in ("/health", "/health/readiness"):
            return self._readiness()
        if path == "/metrics":
            return View(200, *self._gateway.metrics.expose())
        if path in ("/v1/models", "/models"):
            return View(200, orjson.dumps({"object": "list", "data": self._models(headers)}))
        for prefix in ("/v1/models/", "/models/"):
            if path.startswith(prefix):
                return self._model(unquote(path.removeprefix(prefix)), headers)
        raise NotFound("There is no such route.")

    def _readiness(self) -> View:
        """Ready means that a call made now would be recorded and billed."""
        gateway = self._gateway
        can_bill = gateway.ledger.can_record()
        ready = can_bill and not gateway.draining
        document = {
            "status": "ready" if ready else "not ready",
            "can_bill": can_bill,
            "draining": gateway.draining,
            "settings_version": gateway.settings.current.version,
            "problem": gateway.settings.problem,
        }
        return View(200 if ready else 503, orjson.dumps(document))

    def _models(self, headers: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
        identity = self._gateway.keys.identify(headers)
        if identity.key_id is None:
            refuse_foreign_page(headers)
        return [_describe(*pair) for pair in _owned(self._gateway.settings.current.settings, identity)]

    def _model(self, name: str, headers: Mapping[bytes, bytes]) -> View:
        for model in self._models(headers):
            if model["id"] == name:
                return View(200, orjson.dumps(model))
        raise ModelNotFound(f"The model {name!r} does not exist.", param="model")


def _show(document: dict[str, Any]) -> View:
    return View(200, orjson.dumps(document))


def _owned(settings: Settings, identity: Identity) -> list[tuple[str, str]]:
    """Model names and who serves them, as far as the key may use them."""
    names = {route.model: "governor" for route in settings.routing.models}
    names |= {deployment.model: deployment.provider for deployment in settings.deployments if deployment.model != "*"}
    return [(name, owner) for name, owner in names.items() if identity.may_use(name)]


def _describe(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": owner}

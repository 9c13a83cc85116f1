"""What one attempt sends: a deployment, the call, and the body in its final form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from backend.call import Call, Chunks
    from backend.settings.knobs import Deployment, UpstreamSettings


class UpstreamRequest(NamedTuple):
    """One attempt's request; ``body`` already names the upstream model and asks for usage."""

    deployment: Deployment
    call: Call
    body: dict[str, Any]
    settings: UpstreamSettings
    deadline_s: float
    """Seconds this attempt may take in all."""

    @property
    def model(self) -> str:
        """The model name sent on."""
        return self.deployment.upstream_model or self.call.model


class Client(Protocol):
    """How a provider is reached: a stream's chunks one by one, or one chunk with the whole body.

    Raises ``UpstreamError`` subclasses only. ``answered`` is set as soon as response headers came.
    """

    def stream(self, request: UpstreamRequest) -> Chunks:
        """Send the request and yield the answer."""
        ...


def final_body(call: Call, deployment: Deployment, *, ask_usage: bool) -> dict[str, Any]:
    """The caller's body with the upstream's model name, always asking a stream for its usage; unknown fields stay."""
    body = {**call.body, "model": deployment.upstream_model or call.model}
    if call.stream and ask_usage:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body

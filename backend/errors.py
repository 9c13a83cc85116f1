"""Every error a caller can see, with its status and code.

GatewayError                     500 internal_error
├── BadRequest                   400 invalid_request
│   ├── BodyTooLarge             413 body_too_large
│   ├── BodyTimeout              408 body_timeout
│   ├── HeadTooLarge             431 headers_too_large
│   ├── HeadTimeout              408 headers_timeout
│   ├── UnsupportedEncoding      415 unsupported_encoding
│   ├── InvalidSettings          400 invalid_settings
│   └── LoopDetected             508 loop_detected
├── Unauthenticated              401 invalid_api_key
├── Forbidden                    403 permission_denied
│   └── Unpriced                 403 unpriced_model
├── NotFound                     404 not_found
│   ├── ModelNotFound            404 model_not_found
│   └── MethodNotAllowed         405 method_not_allowed
├── Conflict                     409 conflict
│   ├── StaleSettings            409 stale_settings
│   └── IdempotencyMismatch      422 idempotency_mismatch
├── RateLimited                  429 rate_limit_exceeded
├── LedgerUnavailable            503 ledger_unavailable
├── DatabaseUnavailable          503 database_unavailable
├── CacheUnavailable             503 cache_unavailable
└── UpstreamError                502 upstream_error
    ├── UpstreamRefused          the upstream's own 4xx status and body
    ├── UpstreamUnreachable      502 upstream_unreachable
    ├── UpstreamTimeout          504 upstream_timeout
    ├── UpstreamInterrupted      502 upstream_interrupted
    └── UpstreamInvalid          502 upstream_invalid_response

Bodies have OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``, all four keys always present.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

import orjson

log = logging.getLogger(__name__)


class GatewayError(Exception):
    """A failure with a stable status, type and code; its message is safe to show to the caller."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    retry: bool = True
    """Whether sending the same request again can succeed (``x-should-retry``)."""

    def __init__(self, message: str, *, param: str | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_ms = retry_after_ms

    def body(self, call_id: str | None = None) -> bytes:
        """The error as OpenAI's JSON body; ``call_id`` is added inside a stream, where no header can carry it."""
        error: dict[str, object] = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        if call_id is not None:
            error["call_id"] = call_id
        return orjson.dumps({"error": error})

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that tell an SDK whether and when to try again."""
        pairs = [(b"x-should-retry", b"true" if self.retry else b"false")]
        if self.retry_after_ms is not None:
            pairs.append((b"retry-after-ms", str(self.retry_after_ms).encode()))
            pairs.append((b"retry-after", str(-(-self.retry_after_ms // 1000)).encode()))
        return pairs


class BadRequest(GatewayError):
    """The request itself is wrong; sending it again cannot help."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    retry = False


class BodyTooLarge(BadRequest):
    """The body exceeds the configured size or depth."""

    status = 413
    code = "body_too_large"


class BodyTimeout(BadRequest):
    """The client took too long to send its body."""

    status = 408
    code = "body_timeout"


class HeadTooLarge(BadRequest):
    """The request's line and headers are longer than any client's."""

    status = 431
    code = "headers_too_large"


class HeadTimeout(BadRequest):
    """The client took too long to send its headers."""

    status = 408
    code = "headers_timeout"


class UnsupportedEncoding(BadRequest):
    """The body is compressed in a way that is not accepted."""

    status = 415
    code = "unsupported_encoding"


class InvalidSettings(BadRequest):
    """A settings document that breaks a bound; ``problems`` pairs each knob's path with what is wrong."""

    code = "invalid_settings"

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        lines = [f"{path}: {problem}" if path else problem for path, problem in self.problems]
        super().__init__("The settings are not valid. " + "; ".join(lines), param=self.problems[0][0] or None)


class LoopDetected(BadRequest):
    """The request has already passed through Governor too many times."""

    status = 508
    code = "loop_detected"


class Unauthenticated(GatewayError):
    """No key, or a key that is not valid; the text never says which."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    retry = False


class Forbidden(GatewayError):
    """The key is valid but may not do this."""

    status = 403
    type = "permission_error"
    code = "permission_denied"
    retry = False


class Unpriced(Forbidden):
    """Nobody knows what the model costs, and the settings refuse such calls."""

    code = "unpriced_model"


class NotFound(GatewayError):
    """No such route or resource."""

    status = 404
    type = "not_found_error"
    code = "not_found"
    retry = False


class ModelNotFound(NotFound):
    """No deployment answers to this model name."""

    type = "invalid_request_error"
    code = "model_not_found"


class MethodNotAllowed(NotFound):
    """The route exists under another method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class Conflict(GatewayError):
    """The request contradicts the present state."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"
    retry = False


class StaleSettings(Conflict):
    """The settings changed since the version this save was based on."""

    code = "stale_settings"


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before with another body."""

    status = 422
    code = "idempotency_mismatch"


class RateLimited(GatewayError):
    """Too many calls at once for this key or deployment."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class LedgerUnavailable(GatewayError):
    """The call could not be recorded, so it was not made."""

    status = 503
    code = "ledger_unavailable"


class DatabaseUnavailable(GatewayError):
    """The database did not answer a control request."""

    status = 503
    code = "database_unavailable"


class CacheUnavailable(GatewayError):
    """The cache's store did not answer a control request; calls go on without it."""

    status = 503
    code = "cache_unavailable"


class UpstreamError(GatewayError):
    """A deployment failed; the message names the kind of failure, never an address or a credential."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    retriable: bool = True
    """Whether another deployment may be tried for the same call."""


class UpstreamRefused(UpstreamError):
    """The deployment answered with an error status; its body is passed on as it is when it has OpenAI's shape."""

    def __init__(self, message: str, *, status: int, body: bytes | None, retry_after_ms: int | None = None) -> None:
        super().__init__(message, retry_after_ms=retry_after_ms)
        self.status = status
        self.code = f"upstream_{status}"
        self.upstream_body = body
        self.retry = status in {408, 409, 429} or status >= 500
        self.retriable = self.retry or status in {401, 403, 404}

    def body(self, call_id: str | None = None) -> bytes:
        """The upstream's own error body, or ours when it was not in OpenAI's shape."""
        if self.upstream_body is not None and call_id is None:
            return self.upstream_body
        return super().body(call_id)


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, so nothing was billed."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """The deployment did not answer in time."""

    status = 504
    code = "upstream_timeout"


class UpstreamInterrupted(UpstreamError):
    """The deployment's answer ended before it was complete."""

    code = "upstream_interrupted"


class UpstreamInvalid(UpstreamError):
    """The deployment's answer is not what the protocol allows."""

    code = "upstream_invalid_response"


def as_gateway_error(fault: Exception) -> GatewayError:
    """The error itself when a caller may see it; anything else is logged here and becomes a plain 500."""
    if isinstance(fault, GatewayError):
        return fault
    log.error("internal error: %s", type(fault).__name__, exc_info=fault)
    return GatewayError("An internal error occurred. It was logged under the call's id.")

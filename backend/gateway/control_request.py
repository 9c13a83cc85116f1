"""What every control endpoint is asked and answers: a request, its body checked and signed, a reply as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.auth.ring import ADMIN
from backend.call import Identity
from backend.errors import BadRequest
from backend.settings.document import describe
from backend.settings.signature import Signature


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request under ``/control/`` as it came in; header names are lower-case."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ControlReply:
    """A status and a body to be sent as JSON."""

    status: int
    body: dict[str, Any]


class Document(BaseModel):
    """A body: names that are not known are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Asked(Document):
    """A body that asks for a change: every change has a reason."""

    reason: str
    actor: str | None = None


Body = TypeVar("Body", bound=Document)


def read_document(body: bytes, kind: type[Body]) -> Body:
    """The body as its kind; raises ``BadRequest``."""
    try:
        document = orjson.loads(body or b"{}")
    except ValueError:
        raise BadRequest("The body is not JSON.") from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = describe(error, document)
        text = "; ".join(f"{path}: {problem}" if path else problem for path, problem in problems)
        raise BadRequest(f"The body is not valid. {text}", param=problems[0][0] or None) from None


def sign(asked: Asked, identity: Identity) -> Signature:
    """The credential stands in the audit whatever name the caller gives; raises ``BadRequest`` without a reason."""
    credential = f"gov-{identity.key_id}" if identity.key_id else "admin key" if identity is ADMIN else identity.tenant
    return Signature(f"{asked.actor} ({credential})" if asked.actor else credential, asked.reason)

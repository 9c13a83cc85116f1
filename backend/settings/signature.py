"""Who asks for a change, and why: every change carries both."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.errors import BadRequest

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Signature:
    """An actor and a reason, neither empty; raises ``BadRequest`` otherwise."""

    actor: str
    reason: str

    def __post_init__(self) -> None:
        for name, most in (("actor", 200), ("reason", 1000)):
            value = _CONTROL.sub("", str(getattr(self, name))).strip()[:most]
            if not value:
                raise BadRequest(
                    f"A change needs {'somebody who makes it' if name == 'actor' else 'a reason'}.", param=name
                )
            object.__setattr__(self, name, value)

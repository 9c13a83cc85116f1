"""Credentials ``gov-<public>-<secret>``: made, read out of headers, hashed."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Mapping

ALPHABET = string.ascii_letters + string.digits
PUBLIC_LENGTH = 12
SECRET_LENGTH = 43
"""256 bits of 62 letters and digits."""


class Hasher:
    """HMAC-SHA-256 of whole credentials under this installation's secret."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        self._keyed = hmac.new(secret, digestmod="sha256")

    def digest(self, credential: bytes) -> bytes:
        """The hash of the full credential, 32 bytes."""
        keyed = self._keyed.copy()
        keyed.update(credential)
        return keyed.digest()


def make_credential() -> tuple[str, str]:
    """A new credential, and its public part: the key's id."""
    public, secret = (_letters(length) for length in (PUBLIC_LENGTH, SECRET_LENGTH))
    return f"gov-{public}-{secret}", public


def read_credential(headers: Mapping[bytes, bytes]) -> bytes:
    """What the caller presents: the bearer token, else ``x-api-key`` or ``api-key``; empty for nothing."""
    said = headers.get(b"authorization")
    if said is not None and said[:7].lower() == b"bearer ":
        return said[7:].strip()
    return headers.get(b"x-api-key") or headers.get(b"api-key") or b""


def _letters(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))

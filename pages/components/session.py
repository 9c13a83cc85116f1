"""Who is signed in: a signed cookie that the server sets and every page can read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections import deque
from dataclasses import dataclass, field

COOKIE = "governor_session"
LIFETIME_S = 12 * 3600
NAME_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and reads session cookies; a new password or secret ends every session."""

    key: bytes

    @classmethod
    def derive(cls, secret: bytes, password: str) -> Signer:
        """A signer from the installation's secret and the console's password."""
        return cls(hmac.new(secret, b"console-session:" + password.encode(), hashlib.sha256).digest())

    def sign(self, name: str, now_s: float | None = None) -> str:
        """A cookie value that says ``name`` is signed in until 12 hours from now."""
        expires = int((time.time() if now_s is None else now_s) + LIFETIME_S)
        text = json.dumps({"name": name[:NAME_LIMIT], "expires": expires}).encode()
        body = base64.urlsafe_b64encode(text).decode().rstrip("=")
        return f"{body}.{self._mac(body)}"

    def read(self, cookie: str | None, now_s: float | None = None) -> str | None:
        """The name in a cookie; None when it is forged, expired or absent."""
        body, _, mac = (cookie or "").partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(body).encode()):
            return None
        try:
            values = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            return str(values["name"]) if values["expires"] > (time.time() if now_s is None else now_s) else None
        except (binascii.Error, ValueError, KeyError, TypeError):
            return None

    def _mac(self, body: str) -> str:
        return hmac.new(self.key, body.encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class Throttle:
    """Counts failed sign-ins per address and overall within a minute."""

    per_client: int = 5
    overall: int = 50
    window_s: float = 60.0
    failures: deque[tuple[float, str]] = field(default_factory=deque)

    def wait_s(self, client: str, now_s: float | None = None) -> int:
        """Seconds until this address may try again; 0 when it may now."""
        now_s = time.monotonic() if now_s is None else now_s
        while self.failures and self.failures[0][0] <= now_s - self.window_s:
            self.failures.popleft()
        own = [at for at, who in self.failures if who == client]
        if len(own) < self.per_client and len(self.failures) < self.overall:
            return 0
        first = own[0] if len(own) >= self.per_client else self.failures[0][0]
        return max(1, int(first + self.window_s - now_s) + 1)

    def count(self, client: str, now_s: float | None = None) -> None:
        """Remember one failed sign-in."""
        self.failures.append((time.monotonic() if now_s is None else now_s, client))

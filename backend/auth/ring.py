"""The keys in force in this process: a frozen ring per load, and the one live reference to it."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import orjson

from backend.auth.credentials import Hasher, read_credential
from backend.call import Identity
from backend.errors import Forbidden, Unauthenticated
from db.engine import Engine, reading
from db.keys import KeyRow, list_rows

LOCAL = Identity(tenant="local")
"""Who calls while no key was ever made: anybody on this machine, whatever bearer token they send."""

ADMIN = Identity(tenant="admin", scopes=frozenset({"read", "admin"}))
"""Who holds the admin key of the environment; not a key to make calls with."""

CONSOLE = Identity(tenant="console", scopes=frozenset({"read", "admin"}))
"""The console and the command line of this installation: whoever can read its secret."""

REFUSAL = "The API key is missing or not valid."


class UnsafeBinding(Exception):
    """The gateway would be open to the network without a key."""


class KeyRing:
    """Every valid key, by the HMAC of its whole credential; never changes once built.

    ``is_open`` is true while no key was ever made. A revoked key still closes the ring: revoking the last one locks
    the gateway instead of opening it.
    """

    __slots__ = ("_by_id", "_hasher", "_keys", "is_open")

    def __init__(self, secret: bytes, rows: list[KeyRow], *, is_open: bool | None = None) -> None:
        self._hasher = Hasher(secret)
        self._keys = {bytes.fromhex(row.hash): (_identity(row), row.expires_at) for row in rows if not row.revoked_at}
        self._by_id = {identity.key_id: (identity, expires_at) for identity, expires_at in self._keys.values()}
        self.is_open = not rows if is_open is None else is_open

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Who is calling. Raises ``Unauthenticated``, the same for a key unknown, expired, revoked or malformed.

        An open ring lets in everybody but web pages from elsewhere (``Forbidden``): any site may send requests to
        loopback out of the browser of somebody who works here.
        """
        if self.is_open:
            _refuse_foreign_page(headers)
            return LOCAL
        return _admit(self._keys.get(self._hasher.digest(read_credential(headers))))

    def find(self, key_id: str | None) -> Identity:
        """Who left work behind under this key, if the key still holds; None while there were no keys.

        Raises ``Unauthenticated`` as ``identify`` does.
        """
        if key_id is None and self.is_open:
            return LOCAL
        return _admit(self._by_id.get(key_id))


class LiveKeys:
    """The ring in force; ``reload`` is what a change of the keys calls. Once closed it never opens again."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._secret = secret
        self.ring = read_ring(engine, secret)

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Who is calling, by the ring in force. Raises ``Unauthenticated``."""
        return self.ring.identify(headers)

    def find(self, key_id: str | None) -> Identity:
        """Who left work behind under this key, by the ring in force. Raises ``Unauthenticated``."""
        return self.ring.find(key_id)

    def reload(self) -> None:
        """Read the keys again and swap the ring; a database that lost its keys does not open a closed gateway."""
        ring = read_ring(self._engine, self._secret)
        if ring.is_open and not self.ring.is_open:
            ring = KeyRing(self._secret, [], is_open=False)
        self.ring = ring


def read_ring(engine: Engine, secret: bytes) -> KeyRing:
    """The ring of the keys in the database."""
    with reading(engine) as connection:
        return KeyRing(secret, list(list_rows(connection)))


def require_keys_for(host: str, ring: KeyRing) -> None:
    """Refuse to serve the network without a key: raises ``UnsafeBinding`` unless ``host`` is loopback."""
    if ring.is_open and not is_loopback(host):
        raise UnsafeBinding(
            f"GOVERNOR_GATEWAY_HOST={host} is reachable from other machines and no key exists: anybody could call. "
            "Create one first (`governor keys create`), or bind 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _refuse_foreign_page(headers: Mapping[bytes, bytes]) -> None:
    origin = headers.get(b"origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise Forbidden("A web page from another machine needs a key, and none exists yet.")


def _host_of(origin: bytes) -> str:
    try:
        return urlsplit(origin.decode("ascii")).hostname or ""
    except ValueError:
        return ""


def require_scope(identity: Identity, scope: str) -> None:
    """Raises ``Forbidden`` unless the key carries the scope."""
    if scope not in identity.scopes:
        raise Forbidden(f"This key does not have the scope {scope}.")


def console_credential(secret: bytes) -> str:
    """What the console and the command line present to the control endpoints of their own installation's gateway.

    Made of the secret behind the key hashes, so it needs no key and no setting; it is good for no call.
    """
    return f"gov-console-{Hasher(secret).digest(b'console').hex()}"


def identify_admin(
    headers: Mapping[bytes, bytes], ring: KeyRing, admin_key: str | None, console: str | None = None
) -> Identity:
    """Who asks for control: the holder of the environment's admin key, the console or a key; an open ring has none.

    Raises ``Unauthenticated``. The scopes of the identity say what it may do.
    """
    said = read_credential(headers)
    for credential, identity in ((admin_key, ADMIN), (console, CONSOLE)):
        if credential is not None and hmac.compare_digest(said, credential.encode()):
            return identity
    if ring.is_open:
        raise Unauthenticated(REFUSAL)
    return ring.identify(headers)


def _admit(key: tuple[Identity, int | None] | None) -> Identity:
    if key is None or (key[1] is not None and key[1] <= time.time_ns() // 1_000_000):
        raise Unauthenticated(REFUSAL)
    return key[0]


def _identity(row: KeyRow) -> Identity:
    scopes = frozenset(orjson.loads(row.scopes))
    return Identity(
        tenant=row.tenant,
        key_id=row.id,
        models=tuple(orjson.loads(row.models)),
        scopes=scopes | {"read"} if "admin" in scopes else scopes,
        attribution=orjson.loads(row.attribution),
    )

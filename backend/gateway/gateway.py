"""The Gateway: every stage of the path in one object, and the small steps between them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from backend.answer import Fold
from backend.auth.attribution import read_attribution
from backend.cache.exact import may_store
from backend.cache.layers import Cache
from backend.call import Arrival, CacheResult, Call, Chunks, Entry, Identity, Match, Route
from backend.errors import Forbidden, IdempotencyMismatch, LedgerUnavailable, RateLimited
from backend.upstream.flight import Flight, Flights

if TYPE_CHECKING:
    from backend.auth.ring import LiveKeys
    from backend.gateway.bill import Bill
    from backend.ledger.ledger import Ledger
    from backend.metrics.metrics import Metrics
    from backend.routing.router import Router
    from backend.settings.knobs import CacheSettings, GatewaySettings, Settings
    from backend.settings.live import LiveSettings
    from backend.upstream.dispatch import Dispatch


_LOOPBACK = re.compile(rb"127(\.\d{1,3}){3}")
_LOOK_S = 0.25
"""How often a call whose client left is asked whether others still follow it."""


@dataclass(slots=True)
class Gateway:
    """What a worker is made of; built once by ``wiring``."""

    settings: LiveSettings
    keys: LiveKeys
    cache: Cache
    routing: Router
    upstream: Dispatch
    bill: Bill
    ledger: Ledger
    metrics: Metrics
    flights: Flights = field(default_factory=Flights)
    open_calls: int = 0
    drains: int = 0
    reading_on: set[asyncio.Task[None]] = field(default_factory=set)
    draining: bool = False
    """Shutting down: no longer ready for new connections, but calls on the open ones are still answered."""

    def open_entry(self, endpoint: str) -> Entry:
        """A new entry; it tells the truth (cancelled) even if nobody ever closes it."""
        self.open_calls += 1
        return Entry(worker=self.ledger.worker, endpoint=endpoint)

    def admit(self, settings: GatewaySettings) -> None:
        """Refuse what could not be recorded or would be too much; raises a 429 or 503."""
        if self.open_calls > settings.max_open_calls:
            raise RateLimited("Too many calls are open.", retry_after_ms=1000)
        if not self.ledger.can_record():
            raise LedgerUnavailable("The call cannot be recorded, so it is not made.", retry_after_ms=2000)

    def identify(self, arrival: Arrival, entry: Entry) -> Identity:
        """Who is calling; raises ``Unauthenticated``, or ``Forbidden`` for a web page of another site."""
        identity = arrival.owner or self.keys.identify(arrival.headers)
        if identity.key_id is None and arrival.owner is None:
            refuse_foreign_page(arrival.headers)
        entry.tenant, entry.key_id = identity.tenant, identity.key_id
        return identity

    def attribute(self, entry: Entry, identity: Identity, arrival: Arrival, call: Call) -> None:
        """Write on the entry whom the call is for."""
        said = read_attribution(identity, arrival.headers, call.body)
        entry.user, entry.feature = said.user, said.feature
        entry.department, entry.environment, entry.tags = said.department, said.environment, said.tags
        entry.session_id, entry.trace_id = said.session_id, said.trace_id
        call.session_id = said.session_id
        entry.request_bytes = len(arrival.body)

    def authorize(self, identity: Identity, call: Call, entry: Entry) -> None:
        """What this key may do; raises ``Forbidden``."""
        entry.model, entry.stream, entry.idempotency_key = call.model, call.stream, call.idempotency_key
        if "call" not in identity.scopes:
            raise Forbidden("This key does not have the scope call.")
        if not identity.may_use(call.model):
            raise Forbidden(f"This key may not use the model {call.model!r}.", param="model")
        if call.deployment is not None and identity.key_id is not None and "admin" not in identity.scopes:
            raise Forbidden("Only a key with the scope admin may name a deployment.")

    def remember(self, entry: Entry, call: Call, found: CacheResult, settings: Settings) -> None:
        """Put the cache's verdict on the entry, and gather the answer if it will be kept or captured."""
        entry.cache_kind = found.kind
        entry.fingerprint = found.fingerprint
        if found.match is not None:
            _remember_match(entry, found.match)
        may_share = settings.cache.coalesce or found.fingerprint is not None
        if found.kind == "miss" and found.key is not None and may_share:
            entry.share_key = found.key + (b"s" if call.stream else b"w")
        if found.reason is not None and found.kind == "miss" and found.reason != "no live entry":
            entry.note(f"cache: {found.reason}")
        if call.stream and (may_store(call, found) or settings.ledger.capture):
            limit = max(settings.cache.max_entry_kb, settings.ledger.capture_max_kb) * 1024 * 4
            entry.fold = Fold(limit)

    def join(self, entry: Entry) -> Flight | None:
        """The identical call of this tenant that is already on its way, if any; raises ``IdempotencyMismatch``."""
        flight = self.flights.find(entry.share_key)
        if flight is not None and flight.leader.fingerprint != entry.fingerprint:
            raise IdempotencyMismatch("This idempotency key is in use by another request.")
        return flight

    def follow(self, flight: Flight, entry: Entry) -> Chunks:
        """The chunks of an identical call that is already on its way."""
        entry.cache_kind, entry.source_call_id = "coalesced", flight.leader.id
        return flight.follow(entry)

    def send(self, call: Call, route: Route, entry: Entry, settings: Settings) -> Chunks:
        """The chunks of a call of our own, shared with those who ask the same meanwhile."""
        entry.rule, entry.route_reason, entry.propensity = route.rule, route.reason, route.propensity
        if len(route.deployments) > 1:
            entry.candidates = [deployment.name for deployment in route.deployments]
        for name, reason in route.dropped:
            entry.note(f"routing: {name} {reason}")
        chunks = self.upstream.stream(call, route, entry, settings)
        return chunks if entry.share_key is None else self.flights.lead(entry.share_key, entry, chunks)

    def keep(self, call: Call | None, found: CacheResult, entry: Entry, settings: CacheSettings) -> None:
        """Store a complete answer; whatever goes wrong is noted, never raised."""
        if call is None or entry.status != "ok":
            return
        try:
            self.cache.store(call, found, entry, settings)
        except Exception as fault:  # noqa: BLE001 - an optimisation may never fail a call
            entry.note(f"cache: not stored ({type(fault).__name__})")

    def capture(self, entry: Entry, body: bytes, settings: Settings) -> None:
        """Keep the bodies on the entry when the settings ask for it."""
        if not settings.ledger.capture:
            return
        try:
            answer = entry.answer or (entry.fold.answer() if entry.fold else None)
            entry.payload = (body, orjson.dumps(answer) if answer is not None else b"")
        except Exception as fault:  # noqa: BLE001 - a body that cannot be kept must not cost the call its row
            entry.note(f"capture: not kept ({type(fault).__name__})")

    def leave(self, entry: Entry, main: asyncio.Task[None]) -> None:
        """The client hung up: read on to the usage where that is wanted and affordable, else cancel the call."""
        entry.client_left = True
        settings = self.settings.current.settings.upstream
        wanted = entry.drain and self.drains < settings.drain_max
        if not wanted and not _is_followed(entry):
            main.cancel()
            return
        entry.note("client left; the answer was read on")
        self.drains += wanted
        ends_at = time.perf_counter() + (settings.drain_s if wanted else 0.0)
        drain = asyncio.create_task(_read_on(entry, main, ends_at))
        self.reading_on.add(drain)
        drain.add_done_callback(lambda _: self._end_drain(drain, counted=wanted))

    def _end_drain(self, drain: asyncio.Task[None], *, counted: bool) -> None:
        self.reading_on.discard(drain)
        self.drains -= counted


async def _read_on(entry: Entry, main: asyncio.Task[None], ends_at: float) -> None:
    """Let a call go on without its client, to its usage or as long as others follow it."""
    while not main.done():
        left_s = ends_at - time.perf_counter()
        await asyncio.wait({main}, timeout=left_s if left_s > 0 else _LOOK_S)
        if time.perf_counter() >= ends_at and not _is_followed(entry):
            main.cancel()


def _remember_match(entry: Entry, match: Match) -> None:
    """The nearest question is on every call, served or not: that is what lets thresholds be tried on the past."""
    entry.similarity, entry.cache_probability = match.similarity, match.probability
    entry.similarity_threshold, entry.source_call_id = match.threshold, match.source_call_id
    entry.embed_ms = match.embed_ms


def _is_followed(entry: Entry) -> bool:
    return entry.flight is not None and entry.flight.followers > 0


def refuse_foreign_page(headers: Mapping[bytes, bytes]) -> None:
    """Without keys, a web page elsewhere must not spend money through the visitor's browser; raises ``Forbidden``."""
    origin = headers.get(b"origin")
    if origin is not None and not _is_local(origin.partition(b"://")[2]):
        raise Forbidden("Pages of other sites may not call a gateway without keys.")
    host = headers.get(b"host", b"localhost")
    if not _is_local(host):
        raise Forbidden("This gateway has no keys, so it answers to loopback names only.")


def _is_local(host: bytes) -> bool:
    name = host.rsplit(b":", 1)[0] if not host.endswith(b"]") else host
    return name in (b"localhost", b"127.0.0.1", b"[::1]") or _LOOPBACK.fullmatch(name) is not None

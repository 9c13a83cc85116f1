"""The data that travels: Arrival, Identity, Call, Chunk, Route, Attempt, CacheResult, Entry."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from backend.answer import Fold, Recipe
    from backend.errors import GatewayError
    from backend.pricing.prices import Price
    from backend.pricing.usage import Usage
    from backend.settings.knobs import Deployment

Endpoint = Literal["chat.completions", "completions", "embeddings"]
State = Literal["open", "settled", "estimated", "failed", "unknown"]
Status = Literal["ok", "cancelled", "failed", "refused"]
CacheKind = Literal["exact", "semantic", "miss", "bypass", "coalesced"]


def new_id() -> str:
    """A UUIDv7 (RFC 9562): sortable by time, unique without coordination."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF000 << 64) | (0x7000 << 64)) & ~(0xC000 << 48) | (0x8000 << 48)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Arrival(NamedTuple):
    """A request as it came in: endpoint, lower-case headers, raw body; nothing is parsed yet."""

    endpoint: Endpoint
    headers: Mapping[bytes, bytes]
    body: bytes
    problem: GatewayError | None = None
    """Why the body could not be read to its end."""
    owner: Identity | None = None  # whose stored request it is: headers then say nothing about who calls


class Flight(Protocol):
    """An upstream call that other calls may follow."""

    leader: Entry
    followers: int


@dataclass(slots=True, frozen=True)
class Identity:
    """Who is calling: the key's tenant, rights and default attribution."""

    tenant: str
    key_id: str | None = None
    models: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset({"call"})
    attribution: Mapping[str, str] = field(default_factory=dict)

    def may_use(self, model: str) -> bool:
        """Whether the key allows this model; an empty list allows all."""
        return not self.models or model in self.models


@dataclass(slots=True)
class Call:
    """A valid request: the parsed body and what was read out of it."""

    endpoint: Endpoint
    body: dict[str, Any]
    model: str
    stream: bool
    wants_usage: bool
    cache: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    deployment: str | None = None
    """The deployment a caller with that right insists on."""
    latency_budget_ms: float | None = None
    session_id: str | None = None
    hops: int = 0


@dataclass(slots=True)
class Chunk:
    """One piece of an answer: a stream's event or a whole body, as the bytes that go to the client."""

    data: bytes
    event: dict[str, Any]
    shown: bool = True
    """False for the usage chunk that only we asked for."""


class Chunks(Protocol):
    """An answer on its way: an asynchronous generator, or a ``Whole``."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """The chunks in order."""
        ...

    def __anext__(self) -> Awaitable[Chunk]:
        """The next chunk."""
        ...

    def aclose(self) -> Awaitable[None]:
        """Give up what is still to come."""
        ...


class Route(NamedTuple):
    """Deployments in the order they are tried, with the reason for the first."""

    deployments: tuple[Deployment, ...]
    rule: str
    reason: str
    propensity: float = 1.0
    dropped: tuple[tuple[str, str], ...] = ()
    """Deployments not considered, each with its reason."""


@dataclass(slots=True)
class Attempt:
    """One try at a deployment; its fields are the columns of ``attempts``."""

    call_id: str
    number: int
    worker: str
    deployment: str
    provider: str
    model: str
    started_at: int
    state: State = "open"
    ttft_ms: float | None = None
    latency_ms: float | None = None
    http_status: int | None = None
    error_code: str | None = None
    upstream_id: str | None = None
    price_id: str | None = None
    reserved_nusd: int | None = None
    cost_nusd: int | None = None


class StoredAnswer(NamedTuple):
    """A paid answer as the cache keeps it: the whole body, and where it came from."""

    key: bytes
    tenant: str
    model: str
    call_id: str
    body: bytes
    stored_at: int
    expires_at: int
    cost_nusd: int | None = None
    deployment: str | None = None
    provider: str | None = None
    fingerprint: str | None = None
    """What was asked, under an idempotency key; None for entries of the exact cache, whose key says it."""
    recipe: Recipe | None = None  # written while prefetch is on, not read back with the answer


@dataclass(slots=True, frozen=True)
class Match:
    """The best of the answered questions near this one, and what the semantic cache decided about it."""

    partition: str  # as hex
    asked: object  # what the semantic cache needs to keep this question
    embed_ms: float
    reason: str
    source_call_id: str | None = None
    source_key: bytes | None = None  # under which the answer of the source lies
    similarity: float | None = None
    probability: float | None = None
    """That both questions deserve the same answer; 0 where the gate found a difference, None without a neighbour."""
    threshold: float | None = None
    """The probability from which hits were served at that moment; None while none were."""
    verify: bool = False  # whether the fresh answer is to be compared with the source's
    propensity: float = 1.0  # how probably that was chosen
    share: float = 1.0  # the smallest propensity that any would-be hit had at that moment


class CacheResult(NamedTuple):
    """What the cache said: a kind, the key to share and store under, and on a hit the stored answer."""

    kind: CacheKind
    key: bytes | None = None  # None when the answer must not be stored or shared
    stored: StoredAnswer | None = None
    reason: str | None = None
    fingerprint: str | None = None
    """Set when the caller gave an idempotency key: the answer is kept under it whatever else the settings say."""
    answer: dict[str, Any] | None = None  # on a hit what ``stored.body`` says
    match: Match | None = None
    """What the semantic cache found, if it was asked."""


@dataclass(slots=True)
class Entry:
    """The ledger's record of one call; the fields above the line are the columns of ``calls``."""

    worker: str
    endpoint: str
    id: str = field(default_factory=new_id)
    started_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    state: State = "open"
    session_id: str | None = None
    trace_id: str | None = None
    idempotency_key: str | None = None
    stream: bool = False
    origin: str = "user"
    tenant: str | None = None
    key_id: str | None = None
    user: str | None = None
    feature: str | None = None
    department: str | None = None
    environment: str | None = None
    tags: dict[str, str] | None = None
    model: str | None = None
    deployment: str | None = None
    provider: str | None = None
    served_model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: str | None = None
    usage: dict[str, Any] | None = None
    cost_nusd: int | None = None
    price_id: str | None = None
    baseline_nusd: int | None = None
    saved_nusd: int | None = None
    saved_cache_nusd: int | None = None
    saved_routing_nusd: int | None = None
    saved_compression_nusd: int | None = None
    saved_prefix_nusd: int | None = None
    saved_batch_nusd: int | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None
    latency_ms: float | None = None
    queue_ms: float | None = None
    overhead_ms: float | None = None
    embed_ms: float | None = None
    cache_kind: CacheKind | None = None
    similarity: float | None = None
    similarity_threshold: float | None = None
    cache_probability: float | None = None
    source_call_id: str | None = None
    settings_version: int | None = None
    rule: str | None = None
    route_reason: str | None = None
    complexity: float | None = None
    propensity: float | None = None
    candidates: list[str] | None = None
    experiment_id: str | None = None
    variant_id: str | None = None
    prompt_version: str | None = None
    compressed_tokens: int | None = None
    status: Status = "cancelled"
    error_code: str | None = None
    http_status: int | None = None
    finish_reason: str | None = None
    attempts: int = 0
    notes: list[str] | None = None
    # ---- runtime only below: not columns
    clock: float = field(default_factory=time.perf_counter)
    upstream_s: float = 0.0
    client_s: float = 0.0
    first_chunk: float | None = None
    last_chunk: float | None = None
    dispatched: bool = False
    tries: list[Attempt] = field(default_factory=list)
    usage_read: Usage | None = None
    request_bytes: int = 0
    delivered_tokens: int = 0
    price: Price | None = None
    service_tier: str | None = None
    fold: Fold | None = None
    answer: dict[str, Any] | None = None
    cache_age_s: float | None = None
    fingerprint: str | None = None
    share_key: bytes | None = None
    """Under which identical calls in flight share one upstream call; None when this one may not."""
    flight: Flight | None = None
    client_left: bool = False
    drain: bool = False
    payload: tuple[bytes, bytes] | None = None

    def note(self, text: str) -> None:
        """Remember that something stepped aside, so the call's page can say so."""
        self.notes = [*(self.notes or ()), text]

    @property
    def age_ms(self) -> float:
        """Milliseconds since the call arrived."""
        return (time.perf_counter() - self.clock) * 1000.0

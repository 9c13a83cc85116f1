"""Made-up calls that look like a real fortnight: hits, failures, fallbacks, calls cut off, calls nobody can price."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from backend.cache.semantic.verifier import Verifier
from backend.call import Attempt, CacheKind, Entry
from backend.cli import demo_cast as cast
from backend.cli.demo_arrivals import Length, draw_arrivals
from backend.cli.demo_outcomes import end_call
from backend.cli.demo_similar import SimilarQuestions
from backend.gateway.bill import Bill
from backend.pricing.prices import PriceBook
from backend.pricing.seed import seed_book
from backend.settings.knobs import CacheSettings, Deployment
from db.cache_labels import Label

WORKER = "demo"
TENANT = "local"
TTL_MS = 21_600_000
COALESCED_SHARE = 0.06
"""Of the repeated calls: those that came while the first was still under way."""

DAY_MS = 86_400_000
CAPTURED_MS = DAY_MS
"""How long before the end bodies of questions are kept."""

BAD_MS = 4_800_000


def entries(count: int, start_at: int, end_at: int, seed: int = 7, book: PriceBook | None = None) -> Iterator[Entry]:
    """``count`` closed entries in the order of their start (epoch ms); the same arguments give the same calls.

    The settings change in the middle: version 1 before it, 2 (with the exact cache) after.
    """
    yield from Traffic(count, start_at, end_at, seed, book)


@dataclass(slots=True)
class Traffic:
    """The same, with the verdicts on similar questions that come with the calls."""

    count: int
    start_at: int
    end_at: int
    seed: int = 7
    book: PriceBook | None = None
    labels: list[Label] = field(default_factory=list)
    """Those of the calls given so far; whoever takes them empties the list."""

    def __iter__(self) -> Iterator[Entry]:
        rng, prices = Random(self.seed), self.book or seed_book()  # noqa: S311 - made-up traffic
        similar = SimilarQuestions(Random(self.seed), CacheSettings(), Verifier.default().name, self.labels)  # noqa: S311 - as said
        changed_at = (self.start_at + self.end_at) // 2
        scene = Scene(rng, Bill(lambda: prices), changed_at, _find_bad_hour(self.start_at, self.end_at), similar)
        for at, length in draw_arrivals(self.count, self.start_at, self.end_at, rng):
            entry = scene.play(at, length)
            if at >= self.end_at - CAPTURED_MS:
                entry.payload = similar.write_bodies(entry)
            yield entry


@dataclass(slots=True)
class Scene:
    """What a made-up call depends on beside itself: the time of the change, what is cached, who exists."""

    rng: Random
    bill: Bill
    changed_at: int
    bad_at: int
    """When one deployment begins to fail for a while (epoch ms)."""
    similar: SimilarQuestions
    deployments: dict[str, list[Deployment]] = field(default_factory=dict)
    recent: dict[str, deque[Entry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for document in cast.deployments():
            deployment = Deployment.model_validate(document)
            self.deployments.setdefault(deployment.model, []).append(deployment)

    def play(self, at: int, length: Length) -> Entry:
        """One call, closed and billed."""
        feature = self._choose_feature(at)
        entry = self._open(at, feature)
        again = self._find_again(entry, feature)
        near = None if again else self._find_similar(entry, feature)
        if again is not None:
            self._repeat(entry, again, "coalesced" if self.rng.random() < COALESCED_SHARE else "exact")
        elif near is not None and self.similar.meet(entry, near):
            self._repeat(entry, near, "semantic")
        else:
            entry.cache_kind = "miss" if at >= self.changed_at else "bypass"
            self._route(entry)
            prompt = max(1, round(length.prompt * feature.prompt_scale)) + feature.prefix_tokens
            completion = max(1, round(length.completion * feature.completion_scale)) if feature.completion_scale else 0
            end_call(entry, self, feature, Length(prompt, completion))
            self.similar.compare(entry)
        self.bill.settle(entry)
        if entry.cost_nusd is None and not entry.tries and entry.cache_kind not in {"exact", "semantic", "coalesced"}:
            entry.cost_nusd = 0
        if entry.status == "ok" and entry.state == "settled" and entry.tries:
            for name in (feature.name, f"{feature.name}/{entry.model}"):
                self.recent.setdefault(name, deque(maxlen=300)).append(entry)
        return entry

    def failing(self, deployment: str, at: int) -> float:
        """The share of tries that fail: little, except during the deployment's bad hour."""
        if deployment == cast.FAILING and self.bad_at <= at < self.bad_at + BAD_MS:
            return 0.65
        return 0.006

    def candidates(self, model: str) -> list[Deployment]:
        """The deployments of a model."""
        return self.deployments[model]

    def _choose_feature(self, at: int) -> cast.Feature:
        hour = at // 3_600_000 % 24
        weights = [each.share * (4.0 if each.at_night and hour < 5 else 1.0) for each in cast.FEATURES]
        return self.rng.choices(cast.FEATURES, weights)[0]

    def _open(self, at: int, feature: cast.Feature) -> Entry:
        rng = self.rng
        user = min(int(rng.paretovariate(0.9)), feature.users)
        session = user * 1000 + at // 1_800_000 % 1000
        return Entry(
            worker=WORKER,
            endpoint=feature.endpoint,
            id=_id_at(at, rng),
            started_at=at,
            stream=rng.random() < feature.stream_share,
            tenant=TENANT,
            user=f"{feature.department}-{user:03d}",
            feature=feature.name,
            department=feature.department,
            environment=_draw(rng, cast.ENVIRONMENTS),
            session_id=f"{feature.name}-{session}" if feature.stream_share > 0.5 else None,
            model=_draw(rng, feature.models),
            settings_version=2 if at >= self.changed_at else 1,
        )

    def _find_again(self, entry: Entry, feature: cast.Feature) -> Entry | None:
        """An earlier call that asked the same, if this one repeats one that the cache still has."""
        if entry.started_at < self.changed_at or self.rng.random() >= feature.repeat_share:
            return None
        return self._find_recent(entry, feature)

    def _find_similar(self, entry: Entry, feature: cast.Feature) -> Entry | None:
        """An earlier call that asked nearly the same of the same model; else the call asks something of its own."""
        rng = self.similar.rng
        if entry.started_at < self.changed_at or feature.endpoint != "chat.completions":
            return None
        known = self.recent.get(f"{feature.name}/{entry.model}") if rng.random() < feature.similar_share else None
        earlier = known[-1 - min(len(known) - 1, int(rng.expovariate(0.05)))] if known else None
        if earlier and entry.started_at - earlier.started_at <= TTL_MS:
            return earlier
        self.similar.ask(entry)
        return None

    def _find_recent(self, entry: Entry, feature: cast.Feature) -> Entry | None:
        known = self.recent.get(feature.name)
        earlier = known[-1 - min(len(known) - 1, int(self.rng.expovariate(0.02)))] if known else None
        return earlier if earlier and entry.started_at - earlier.started_at <= TTL_MS else None

    def _repeat(self, entry: Entry, earlier: Entry, kind: CacheKind) -> None:
        """The same answer again, from the cache or out of a call that is still under way."""
        rng = self.rng
        entry.cache_kind = kind
        entry.model, entry.deployment, entry.provider = earlier.model, earlier.deployment, earlier.provider
        entry.served_model, entry.finish_reason = earlier.served_model, earlier.finish_reason
        entry.source_call_id, entry.price, entry.usage_read = earlier.id, earlier.price, earlier.usage_read
        entry.saved_cache_nusd = earlier.cost_nusd
        entry.status, entry.state, entry.http_status = "ok", "settled", 200
        entry.overhead_ms = rng.lognormvariate(-0.4, 0.4) + (entry.embed_ms or 0.0)
        entry.latency_ms = (earlier.latency_ms or 0.0) * rng.random() if kind == "coalesced" else entry.overhead_ms
        entry.ttft_ms = entry.latency_ms * 0.9

    def _route(self, entry: Entry) -> None:
        fit = self.candidates(str(entry.model))
        azure = 0.7 if entry.started_at >= self.changed_at else 0.3
        shares = [azure if each.name == cast.FAILING else 1 - azure for each in fit] if len(fit) > 1 else [1.0]
        first = self.rng.choices(range(len(fit)), shares)[0]
        entry.rule = f"{'route' if len(fit) > 1 else 'model'}:{entry.model}"
        entry.propensity = shares[first]
        entry.route_reason = (
            f"drawn with weight {shares[first]:.0%}" if len(fit) > 1 else "only deployment of the model"
        )
        ordered = [fit[first], *(each for i, each in enumerate(fit) if i != first)]
        entry.candidates = [each.name for each in ordered] if len(fit) > 1 else None
        self._try(entry, ordered[0])

    def _try(self, entry: Entry, deployment: Deployment) -> Attempt:
        """A try at a deployment, with the price that was in force."""
        attempt = Attempt(
            call_id=entry.id,
            number=len(entry.tries) + 1,
            worker=WORKER,
            deployment=deployment.name,
            provider=deployment.provider,
            model=str(entry.model),
            started_at=entry.started_at,
        )
        entry.price = self.bill.price_of(deployment, attempt.model, attempt.started_at)
        entry.price_id = attempt.price_id = entry.price.id if entry.price else None
        entry.deployment, entry.provider = deployment.name, deployment.provider
        entry.tries.append(attempt)
        entry.attempts = attempt.number
        return attempt

    def try_another(self, entry: Entry) -> Attempt | None:
        """A try at a deployment that was not tried yet; None when there is no other."""
        tried = {attempt.deployment for attempt in entry.tries}
        other = next((each for each in self.candidates(str(entry.model)) if each.name not in tried), None)
        return self._try(entry, other) if other else None


def _find_bad_hour(start_at: int, end_at: int) -> int:
    """Two in the afternoon (UTC) of a weekday at about three quarters of the time."""
    day = (start_at + (end_at - start_at) * 3 // 4) // DAY_MS - 1
    while (day + 3) % 7 >= 5:  # the epoch began on a Thursday
        day -= 1
    return day * DAY_MS + DAY_MS * 14 // 24


def _draw(rng: Random, weights: dict[str, Any]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _id_at(at: int, rng: Random) -> str:
    """A UUIDv7 of that moment."""
    value = (at << 80) | rng.getrandbits(80)
    value = (value & ~(0xF000 << 64) | (0x7000 << 64)) & ~(0xC000 << 48) | (0x8000 << 48)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

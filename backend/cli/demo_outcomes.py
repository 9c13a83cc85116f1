"""How a made-up call ends: answered, cut off by its client, failed, refused; with the times and tokens of it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Protocol

from backend.call import Attempt, Entry
from backend.cli.demo_arrivals import Length
from backend.pricing.usage import estimate_usage, read_usage
from backend.settings.knobs import Deployment

if TYPE_CHECKING:
    from backend.cli.demo_cast import Feature

REFUSED_SHARE = 0.006
CANCELLED_SHARE = 0.02
SILENT_SHARE = 0.006
LENGTH_SHARE = 0.02

_FAILURES = (("upstream_500", 500), ("upstream_503", 503), ("upstream_429", 429), ("upstream_timeout", 504))
_FAILURE_WEIGHTS = (30, 25, 30, 15)


class Surroundings(Protocol):
    """What an outcome depends on beside the call."""

    rng: Random

    def failing(self, deployment: str, at: int) -> float: ...  # noqa: D102
    def candidates(self, model: str) -> list[Deployment]: ...  # noqa: D102
    def try_another(self, entry: Entry) -> Attempt | None: ...  # noqa: D102


def end_call(entry: Entry, around: Surroundings, feature: Feature, length: Length) -> None:
    """Closes a call that was routed; its last attempt is open."""
    rng = around.rng
    entry.overhead_ms = rng.lognormvariate(-0.2, 0.45)
    entry.queue_ms = 0.0
    if rng.random() < REFUSED_SHARE:
        _refuse(entry, rng)
        return
    waited_ms = 0.0
    while rng.random() < around.failing(str(entry.deployment), entry.started_at):
        waited_ms += _fail(entry.tries[-1], rng)
        if entry.tries[-1].state == "unknown" or not around.try_another(entry):
            _end_failed(entry, waited_ms)
            return
        entry.tries[-1].started_at = entry.started_at + round(waited_ms)
    _answer(entry, _speed(entry, around), rng, length, waited_ms)
    _count_tokens(entry, rng, feature, length)


def _refuse(entry: Entry, rng: Random) -> None:
    """The request was wrong, so nothing went out."""
    entry.tries.clear()
    entry.attempts = 0
    entry.deployment = entry.provider = entry.cache_kind = entry.rule = entry.route_reason = None
    entry.propensity = entry.candidates = entry.price = entry.price_id = None
    if rng.random() < 0.3:
        entry.model, entry.error_code, entry.http_status = "gpt-5-preview", "model_not_found", 404
    else:
        entry.error_code, entry.http_status = "invalid_request", 400
    entry.status, entry.state, entry.latency_ms = "refused", "failed", entry.overhead_ms


def _fail(attempt: Attempt, rng: Random) -> float:
    """Ends a try badly; how long it took, in milliseconds."""
    attempt.error_code, status = rng.choices(_FAILURES, _FAILURE_WEIGHTS)[0]
    ambiguous = attempt.error_code == "upstream_timeout"
    attempt.state = "unknown" if ambiguous else "failed"
    attempt.http_status = None if ambiguous else status
    attempt.latency_ms = 60_000.0 if ambiguous else rng.lognormvariate(5.4, 0.7)
    return attempt.latency_ms


def _end_failed(entry: Entry, waited_ms: float) -> None:
    last = entry.tries[-1]
    entry.status, entry.error_code = "failed", last.error_code
    entry.http_status = last.http_status or 504
    entry.state = last.state
    entry.cost_nusd = None if last.state == "unknown" else 0
    entry.latency_ms = waited_ms + (entry.overhead_ms or 0.0)


def _speed(entry: Entry, around: Surroundings) -> tuple[float, float]:
    """Median milliseconds to the first token, and tokens per second."""
    deployment = next(each for each in around.candidates(str(entry.model)) if each.name == entry.deployment)
    simulation = deployment.simulation
    return (simulation.ttft_ms, simulation.tokens_per_s) if simulation else (400.0, 80.0)


def _answer(entry: Entry, speed: tuple[float, float], rng: Random, length: Length, waited_ms: float) -> None:
    attempt = entry.tries[-1]
    first_ms = speed[0] * rng.lognormvariate(0, 0.35) * (1 + length.prompt / 20_000)
    rest_ms = length.completion / speed[1] * 1000 * rng.lognormvariate(0, 0.15)
    attempt.ttft_ms = first_ms if entry.stream else first_ms + rest_ms
    attempt.latency_ms = first_ms + rest_ms
    attempt.http_status, attempt.upstream_id = 200, f"chatcmpl-{rng.getrandbits(96):024x}"
    own_ms = waited_ms + (entry.overhead_ms or 0.0)
    entry.ttft_ms, entry.latency_ms = attempt.ttft_ms + own_ms, attempt.latency_ms + own_ms
    if entry.stream and length.completion > 1:
        entry.itl_ms = rest_ms / (length.completion - 1)
    entry.served_model = entry.model


def _count_tokens(entry: Entry, rng: Random, feature: Feature, length: Length) -> None:
    """Usage as the provider reports it, or our estimate where the client left or the provider said nothing."""
    entry.status, entry.state, entry.http_status = "ok", "settled", 200
    chance = rng.random()
    if entry.stream and chance < CANCELLED_SHARE:
        _cut_off(entry, rng, length)
    elif chance < CANCELLED_SHARE + SILENT_SHARE and length.completion:
        entry.usage_read, entry.state = estimate_usage(length.prompt, length.completion), "estimated"
    else:
        entry.usage_read = read_usage(_report(rng, feature, length))
    if not entry.client_left and feature.endpoint != "embeddings":
        entry.finish_reason = "length" if rng.random() < LENGTH_SHARE else "stop"
    entry.tries[-1].state = entry.state


def _cut_off(entry: Entry, rng: Random, length: Length) -> None:
    share = rng.random()
    entry.usage_read = estimate_usage(length.prompt, max(1, round(length.completion * share)))
    entry.status, entry.state, entry.http_status = "cancelled", "estimated", None
    entry.client_left = True
    first_ms, latency_ms = entry.ttft_ms or 0.0, entry.latency_ms or 0.0
    entry.latency_ms = first_ms + (latency_ms - first_ms) * share


def _report(rng: Random, feature: Feature, length: Length) -> dict[str, object]:
    usage: dict[str, object] = {
        "prompt_tokens": length.prompt,
        "completion_tokens": length.completion,
        "total_tokens": length.prompt + length.completion,
    }
    if feature.prefix_tokens >= 1024 and rng.random() < 0.6:
        usage["prompt_tokens_details"] = {"cached_tokens": feature.prefix_tokens // 128 * 128}
    if feature.endpoint == "embeddings":
        usage = {"prompt_tokens": length.prompt, "total_tokens": length.prompt}
    return usage

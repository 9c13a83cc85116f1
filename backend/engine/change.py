"""Applies staged knobs to a running engine: measured before and after, and taken back when a target breaks.

Where memory allows, the new process starts beside the old one and takes over when it has proved itself; else the old
one finishes its calls first and calls fall back, or fail visibly, until the new one answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backend.engine.decide import State, describe_end
from backend.engine.deployments import NotLed
from backend.engine.health import NoToken, generate_token
from backend.engine.journal import Happening, now_ms, write_spec
from backend.engine.last_words import with_last_words
from backend.engine.process import free_port
from backend.engine.room import has_room_for_both
from backend.engine.scrape import MetricsUnread, take_reading
from backend.engine.stages import spread_of
from backend.engine.trial import Figures, find_broken, measure
from backend.settings.diff import compare
from backend.settings.knobs import EngineSettings, EngineSpec
from db.engine import reading
from db.engine_traffic import Try, read_tries
from db.failures import DatabaseAway, RowsRefused, judged

if TYPE_CHECKING:
    from backend.engine.minder import Minder, Running

POLL_S = 0.5
SETTLE_S = 2.0
"""How long gateways need at most to send calls to the new port."""
LEAST_TRIES = 10
MOST_TRIES = 2000
USUAL_S = 3600.0
"""How far back real calls say what was usual before a change."""
AT_ONCE = frozenset({"max_running", "usd_per_gpu_hour"})
"""Knobs that need no new process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a change went; ``problem`` is empty when it stays."""

    problem: str
    after: Figures | None = None


def staged(launched: EngineSpec, spec: EngineSpec) -> list[Any]:
    """What would change with the next launch, knob by knob."""
    documents = [each.model_dump(mode="json", exclude=set(AT_ONCE)) for each in (launched, spec)]
    return list(compare(*documents))


def apply_change(minder: Minder, spec: EngineSpec) -> None:
    """Give a running engine this specification, or leave it as it was and say why. Raises ``OSError``."""
    old = minder.running
    if old is None:
        return
    changes = staged(old.spec, spec)
    if not changes:
        return
    minder.state = State.CHANGING
    minder.sweeper.interrupt()
    minder.journal.state(State.CHANGING, "measuring before the change")
    served_s = min(USUAL_S, time.monotonic() - old.started_s)
    usual = _read_real(minder, now_ms() - round(served_s * 1000))
    before = measure(old.place, old.spec, minder.view.knobs.trial_load_s)
    by = minder.view.by
    beside = has_room_for_both(old.spec, spec, old.process.pid)
    outcome = (_start_beside if beside else _replace)(minder, old, spec, before)
    if not outcome.problem:
        outcome = _watch(minder, outcome, usual, old.spec)
    how = "the old process served until the new one did" if beside else "the old process ended first"
    kind, message = ("return", outcome.problem) if outcome.problem else ("apply", how)
    after = outcome.after.plain() if outcome.after else None
    minder.journal.happened(Happening(kind, message, by, changes, before.plain(), after))


def _start_beside(minder: Minder, old: Running, spec: EngineSpec, before: Figures) -> Outcome:
    minder.journal.state(State.CHANGING, "the new process starts beside the old one")
    new = minder.launch(spec, spec.port if spec.port != old.process.launch.port else free_port())
    try:
        outcome = _take_over(minder, new, _prove(minder, new, before), old.spec)
    except BaseException:
        minder.running = old
        new.process.kill()
        raise
    if outcome.problem:
        new.process.kill()
        minder.state = State.READY
        minder.journal.state(State.READY, f"the change was taken back: {outcome.problem}")
        return outcome
    _drain(minder, old)
    return outcome


def _take_over(minder: Minder, new: Running, outcome: Outcome, old: EngineSpec) -> Outcome:
    """Has calls led to a process that proved itself; ``old`` stays written down until it was watched."""
    if outcome.problem:
        return outcome
    try:
        minder.lead(new)
    except NotLed as error:
        return Outcome(f"calls could not be led to the new process: {error}", outcome.after)
    minder.adopt(new, State.CHANGING, old)
    return outcome


def _replace(minder: Minder, old: Running, spec: EngineSpec, before: Figures) -> Outcome:
    minder.journal.state(State.CHANGING, "the old process finishes its calls, then the new one starts")
    old.process.end(minder.view.knobs.drain_s)
    new = minder.launch(spec)
    minder.adopt(new, State.CHANGING, old.spec)
    try:
        outcome = _prove(minder, new, before)
    except BaseException:
        _go_back(minder, old.spec)
        raise
    if outcome.problem:
        _go_back(minder, old.spec)
        return outcome
    minder.point(new)
    return outcome


def _prove(minder: Minder, new: Running, before: Figures) -> Outcome:
    """Whether it answers, and keeps the targets under the same load."""
    problem = _await_token(minder, new)
    if problem:
        return Outcome(problem)
    after = measure(new.place, new.spec, minder.view.knobs.trial_load_s)
    return Outcome(find_broken(before, after, minder.view.knobs), after)


def _await_token(minder: Minder, new: Running) -> str:
    """Waits for its first token; what went wrong, or nothing."""
    knobs, complaint = minder.view.knobs, "not answering"
    while time.monotonic() - new.started_s < knobs.start_deadline_s:
        if minder.ending or not minder.wanted:
            return "it was to stop meanwhile"
        if new.process.code is not None:
            return with_last_words(f"with the change {describe_end(new.process.code)}", new.process.log)
        try:
            generate_token(new.place, knobs.health_deadline_s)
            return ""
        except NoToken as error:
            complaint = str(error)
        minder.pause(POLL_S)
    return f"no token within {knobs.start_deadline_s:g} s of its start: {complaint}"


def _drain(minder: Minder, old: Running) -> None:
    """Waits until the old process has no call, then ends it; gateways learn of the new port meanwhile."""
    minder.journal.state(State.CHANGING, "the old process finishes its calls")
    settled_s = time.monotonic() + SETTLE_S
    until = time.monotonic() + minder.view.knobs.drain_s + SETTLE_S
    while time.monotonic() < until and not minder.ending:
        if time.monotonic() >= settled_s and _is_idle(old):
            break
        minder.pause(POLL_S)
    old.process.end(minder.view.knobs.drain_s)


def _is_idle(old: Running) -> bool:
    try:
        gauges = take_reading(old.place.url, old.spec.server).gauges
    except MetricsUnread:
        return True
    return not gauges.get("running") and not gauges.get("waiting")


def _watch(minder: Minder, outcome: Outcome, usual: Figures | None, old: EngineSpec) -> Outcome:
    """Follows real traffic for a while; goes back to the old specification when a target breaks that was kept."""
    running, knobs = minder.running, minder.view.knobs
    minder.journal.state(State.CHANGING, "watching real calls after the change")
    since, until = now_ms(), time.monotonic() + knobs.trial_s
    while running and time.monotonic() < until and not minder.ending and minder.wanted:
        problem = _find_trouble(minder, running, usual, since)
        if problem:
            _go_back(minder, old)
            return Outcome(problem, outcome.after)
        minder.pause(POLL_S)
    if running and minder.running is running:
        minder.adopt(running, State.READY)
    return outcome


def _find_trouble(minder: Minder, running: Running, usual: Figures | None, since: int) -> str:
    knobs = minder.view.knobs
    if running.process.code is not None:
        return with_last_words(f"with the change {describe_end(running.process.code)}", running.process.log)
    pulse = running.feeler.feel(knobs, knobs.health_period_s)
    if pulse.wedged or pulse.failures >= knobs.health_failures:
        return f"with the change its checks failed: {pulse.complaint}"
    found = _read_real(minder, since) if usual else None
    return compare_real(usual, found, knobs) if usual and found else ""


def _read_real(minder: Minder, since: int) -> Figures | None:
    """Figures of real calls since a time (epoch ms); None of too few."""
    try:
        with judged(), reading(minder.house.engine) as connection:
            return sum_up_tries(read_tries(connection, minder.name, since, MOST_TRIES))
    except (DatabaseAway, RowsRefused):
        return None


def compare_real(usual: Figures, found: Figures, knobs: EngineSettings) -> str:
    """Which target real calls miss that they kept before; a figure that was unknown then blames nobody."""
    unknown = {name: None for name in ("ttft_p95_ms", "itl_p95_ms") if getattr(usual, name) is None}
    return find_broken(usual, replace(found, **unknown), knobs)  # type: ignore[arg-type]


def sum_up_tries(tries: Sequence[Try]) -> Figures | None:
    """Figures of recorded calls; None of too few. What a client got wrong or gave up counts for nobody.

    Only streamed calls say when their first token came: the others' time to it is that of the whole answer.
    """
    fair = [each for each in tries if not _is_clients(each)]
    if len(fair) < LEAST_TRIES:
        return None
    streamed = [each for each in fair if each.streamed]
    timed = streamed if len(streamed) >= LEAST_TRIES else []
    ttft, itl = spread_of([each.ttft_ms for each in timed]), spread_of([each.itl_ms for each in timed])
    return Figures(
        calls=len(fair),
        error_rate=sum(each.error_code is not None for each in fair) / len(fair),
        tokens_per_s=None,
        ttft_p50_ms=ttft.p50_ms if ttft else None,
        ttft_p95_ms=ttft.p95_ms if ttft else None,
        itl_p95_ms=itl.p95_ms if itl else None,
        nusd_per_mtok=None,
    )


def _is_clients(each: Try) -> bool:
    if each.error_code is None:
        return False
    blamed = each.http_status is not None and 400 <= each.http_status < 500
    return blamed or not each.error_code.startswith("upstream")


def _go_back(minder: Minder, old: EngineSpec) -> None:
    """Ends what runs and starts the old specification; the usual round welcomes it."""
    if minder.running is not None:
        minder.running.process.kill()
    minder.running = None
    minder.journal.note(launched=write_spec(old))
    if minder.ending or not minder.wanted:
        return
    minder.adopt(minder.launch(old), State.STARTING)

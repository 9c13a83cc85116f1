"""A sweep: one load after the other on one engine, what each measured, and where the sweet spot lies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from backend.engine.health import Place
from backend.engine.load import Load, run_load
from backend.engine.price import Effort, Point, fit_effort
from backend.engine.scrape import MetricsUnread, compare, take_reading
from backend.engine.shapes import Shape, read_shape
from backend.engine.stages import Slo, Stage, find_sweet_spot, label_stage, sum_up
from backend.engine.weights import Variant
from db.sweeps import SweepRow

MOST_STAGES = 100
CANCEL_POLL_S = 0.5

Report = Callable[[float, Mapping[str, Any]], None]
"""Told after every stage: how far it is (0 to 1), and the results so far."""
Cancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep goes through: every batch size × every concurrency × every shape, or × one mixture of shapes."""

    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    shapes: tuple[Shape, ...] = (Shape(256, 64),)
    mixed: bool = False
    """Whether the shapes are drawn in turn within each load (as recorded traffic) instead of one load each."""
    max_num_seqs: tuple[int, ...] = ()
    """Batch sizes that the engine is launched anew for; empty: as it runs."""
    warm_up_s: float = 2.0
    measure_s: float = 10.0

    def write(self) -> str:
        """The plan as JSON."""
        return orjson.dumps(asdict(self) | {"shapes": [str(shape) for shape in self.shapes]}).decode()


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a sweep is run: the engine, its targets, how to launch one with another batch size (None: not here).

    ``variant`` is what the engine serves meanwhile, kept with the results.
    """

    place: Place
    server: str = "vllm"
    slo: Slo = field(default_factory=Slo)
    launch: Callable[[int, Cancelled], AbstractContextManager[Place]] | None = None
    variant: Variant | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sweep ended, and everything it measured."""

    state: Literal["done", "cancelled", "failed"]
    results: Mapping[str, Any]
    message: str | None = None


def read_plan(text: str) -> Plan:
    """A plan from its JSON. Raises ``ValueError`` naming what makes no sense."""
    document = orjson.loads(text)
    try:
        plan = Plan(
            tuple(int(each) for each in document.get("concurrency") or Plan().concurrency),
            tuple(read_shape(each) for each in document.get("shapes") or ["256:64"]),
            bool(document.get("mixed")),
            tuple(int(each) for each in document.get("max_num_seqs") or ()),
            float(document.get("warm_up_s", 2.0)),
            float(document.get("measure_s", 10.0)),
        )
    except (TypeError, AttributeError) as problem:
        raise ValueError(f"the plan makes no sense: {problem}") from None
    return check_plan(plan)


def check_plan(plan: Plan) -> Plan:
    """The plan itself. Raises ``ValueError`` when it cannot be gone through."""
    if not plan.concurrency or min([*plan.concurrency, *plan.max_num_seqs]) < 1 or max(plan.concurrency) > 10_000:
        raise ValueError("concurrencies and batch sizes are whole numbers from 1 (to 10,000)")
    if plan.measure_s <= 0 or plan.warm_up_s < 0 or max(plan.measure_s, plan.warm_up_s) > 3600:
        raise ValueError("a load is measured for some time, an hour at most")
    if not 0 < len(_steps(plan)) <= MOST_STAGES:
        raise ValueError(f"a sweep has at most {MOST_STAGES} loads, this one {len(_steps(plan))}")
    return plan


def run_sweep(row: SweepRow, scene: Scene, report: Report, cancelled: Cancelled) -> Outcome:
    """Go through the plan of a sweep (blocking; minutes). What was measured before an end of any kind is kept."""
    stages: list[Stage] = []
    try:
        plan = read_plan(row.plan)
        for batch in plan.max_num_seqs or (None,):
            with _placed(scene, batch, cancelled) as place:
                _measure(plan, scene, place, (batch, stages, report, cancelled))
            if cancelled():
                return Outcome("cancelled", results_of(stages, scene.slo), "cancelled")
    except Exception as error:  # noqa: BLE001 - whatever ends a sweep is what its owner must read
        if cancelled():
            return Outcome("cancelled", results_of(stages, scene.slo), "cancelled")
        return Outcome("failed", results_of(stages, scene.slo), f"{error}"[:1000] or type(error).__name__)
    if all(stage.failed == stage.calls for stage in stages):
        return Outcome("failed", results_of(stages, scene.slo), f"every call failed: {stages[0].error}")
    return Outcome("done", results_of(stages, scene.slo))


def results_of(stages: Sequence[Stage], slo: Slo) -> dict[str, Any]:
    """What is stored of a sweep: stages, targets, sweet spot, effort per token."""
    effort = effort_of(stages)
    return {
        "stages": [stage.figures() for stage in stages],
        "slo": asdict(slo),
        "sweet_spot": asdict(find_sweet_spot(stages, slo)),
        "effort": asdict(effort) if effort else None,
    }


def effort_of(stages: Sequence[Stage]) -> Effort | None:
    """Machine time per token from the busiest load of each shape; tokens of the prefix cache cost none."""
    busiest: dict[tuple[str, int | None], Stage] = {}
    for stage in stages:
        key = (stage.shape, stage.max_num_seqs)
        if key not in busiest or stage.completion_tokens_per_s > busiest[key].completion_tokens_per_s:
            busiest[key] = stage
    return fit_effort([_point(stage) for stage in busiest.values()])


def _point(stage: Stage) -> Point:
    cached = (stage.seen or {}).get("prefix_hit_rate") or 0.0
    prompts = stage.prompt_tokens_per_s * (1 - cached)
    return Point(stage.seconds, prompts * stage.seconds, stage.completion_tokens_per_s * stage.seconds)


def _placed(scene: Scene, batch: int | None, cancelled: Cancelled) -> AbstractContextManager[Place]:
    if batch is None:
        return nullcontext(scene.place)
    if scene.launch is None:
        raise ValueError("another batch size needs a managed engine that can be launched here")
    return scene.launch(batch, cancelled)


_Around = tuple[int | None, list[Stage], Report, Cancelled]


def _steps(plan: Plan) -> list[tuple[int, tuple[Shape, ...]]]:
    """Concurrency and shapes of every load of one batch size, times the batch sizes."""
    kinds = [plan.shapes] if plan.mixed else [(shape,) for shape in plan.shapes]
    return [(count, kind) for kind in kinds for count in plan.concurrency] * max(len(plan.max_num_seqs), 1)


def _measure(plan: Plan, scene: Scene, place: Place, around: _Around) -> None:
    batch, stages, report, cancelled = around
    every = _steps(plan)
    for concurrency, shapes in every[: len(every) // max(len(plan.max_num_seqs), 1)]:
        if cancelled():
            return
        load = Load(place, shapes, concurrency, scene.server, plan.warm_up_s, plan.measure_s, seed=len(stages) + 1)
        stage = _run_stage(load, "mixed" if plan.mixed else str(shapes[0]), scene, cancelled)
        if stage is None:
            return
        stages.append(label_stage(stage[0], batch, stage[1]))
        report(len(stages) / len(every), results_of(stages, scene.slo))


def _run_stage(
    load: Load, shape: str, scene: Scene, cancelled: Cancelled
) -> tuple[Stage, Mapping[str, Any] | None] | None:
    """The figures of one load and what the engine said meanwhile; None when it was cancelled."""
    try:
        before = take_reading(load.place.url, load.server)
    except MetricsUnread:
        before = None
    run = asyncio.run(_until_cancelled(load, cancelled))
    if run is None:
        return None
    stage = sum_up(run, load.concurrency, shape, scene.slo)
    try:
        seen = compare(before, take_reading(load.place.url, load.server)).figures() if before else None
    except MetricsUnread:
        seen = None
    return stage, seen


async def _until_cancelled(load: Load, cancelled: Cancelled) -> Any:
    work = asyncio.create_task(run_load(load))
    while not work.done():
        await asyncio.wait({work}, timeout=CANCEL_POLL_S)
        if not work.done() and await asyncio.to_thread(cancelled):
            work.cancel()
            await asyncio.wait({work})
            return None
    return work.result()

"""Commands that measure engines: sweep and memory; price, quality and quantise stand beside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli import engine_price, engine_quality
from backend.cli.database import opened_current, read_settled_environment
from backend.cli.engine_place import place_of, spec_served
from backend.cli.options import spread
from backend.cli.output import AsJson, CommandFailed, Reason, put, put_json, put_rows, say, show_time

if TYPE_CHECKING:
    from backend.engine.sweep import Plan
    from backend.reports.engine_sweeps import Sweep
    from backend.reports.ledger import Ledger

POLL_S = 0.5
WAITING = {"queued": "queued until a keeper has time (--foreground runs it here)"}
SHOWN = (
    "concurrency",
    "shape",
    "max_num_seqs",
    "calls_per_s",
    "goodput_per_s",
    "completion_tokens_per_s",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "itl_p95_ms",
    "total_p95_ms",
    "failed",
    "sweet",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `governor engine`."""
    app.command("sweep")(sweep)
    app.command("sweeps")(list_all)
    app.command("cancel")(cancel)
    app.command("memory")(plan_memory)
    app.command("price")(engine_price.show_price)
    engine_quality.register(app)


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What a sweep goes through."""

    name: Annotated[str, typer.Argument(help="The engine's name.")]
    reason: Annotated[str, typer.Option(help="Why; kept with the sweep.")] = "measured from the command line"
    concurrency: Annotated[str, typer.Option(help="Calls at once, such as 1,2,4,8.")] = "1,2,4,8,16,32"
    shape: Annotated[list[str] | None, typer.Option(help="PROMPT:COMPLETION[:SHARED] tokens; may be repeated.")] = None
    from_traffic: Annotated[bool, typer.Option("--from-traffic", help="Shapes of recorded calls instead.")] = False
    batch: Annotated[str, typer.Option(help="max_num_seqs to launch it anew with, such as 8,32,128.")] = ""
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of one measured load.")] = 10.0
    warm_up: Annotated[float, typer.Option(min=0, max=3600, help="Seconds before it.")] = 2.0
    against: Annotated[str | None, typer.Option(help="An engine or a sweep's id to show beside it.")] = None
    apply: Annotated[bool, typer.Option("--apply", help="Put the sweet spot in force.")] = False
    foreground: Annotated[bool, typer.Option("--foreground", help="Run it here instead of in the keeper.")] = False
    as_json: AsJson = False


@spread(SweepOptions)
def sweep(options: SweepOptions) -> None:
    """Measure an engine under real load, find where it runs best, and apply that on request."""
    from backend import actions
    from backend.cli.settings import sign

    by = sign(options.reason)
    with opened_current() as engine:
        plan = _read_plan(options)
        plan = actions.plan_like_traffic(engine, options.name, plan) if options.from_traffic else plan
        sweep_id = actions.queue_sweep(engine, options.name, plan, by)
        if options.foreground:
            _run_here(engine, options.name, sweep_id)
        found = _follow(sweep_id, lambda: actions.cancel_sweep(engine, sweep_id, by))
        _show(found, options)
        if options.apply:
            version = actions.apply_sweep(engine, sweep_id, by)
            say(f"{options.name}: the sweet spot is in force as settings version {version.version}.")


def list_all(
    name: Annotated[str | None, typer.Argument(help="Only of this engine.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most sweeps.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List sweeps, newest first."""
    from backend.reports.engine_sweeps import read_sweeps

    with opened_current():
        found = read_sweeps(_ledger(), name, limit)
    rows = [
        {
            "id": each.row.id,
            "engine": each.row.engine,
            "state": each.row.state,
            "progress": f"{each.row.progress:.0%}",
            "created_at": show_time(each.row.created_at),
            "loads": len(each.curve),
            "found": each.row.message or each.reason,
        }
        for each in found
    ]
    put_rows(rows, as_json=as_json)


def cancel(sweep_id: Annotated[str, typer.Argument(help="The sweep's id.")], reason: Reason) -> None:
    """End a sweep; what it measured stays."""
    from backend import actions
    from backend.cli.settings import sign

    with opened_current() as engine:
        actions.cancel_sweep(engine, sweep_id, sign(reason))
    put(f"Sweep {sweep_id} ends.")


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """A model and what it is put on."""

    config: Annotated[Path, typer.Argument(help="config.json of the model, or its folder.")]
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16, fp8, w8a8, w4a16, gptq or awq.")] = "bf16"
    context: Annotated[int, typer.Option(min=1, help="Tokens of each sequence.")] = 8192
    sequences: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 16
    kv: Annotated[str, typer.Option(help="KV cache kept as auto (16 bit), fp8 or fp32.")] = "auto"
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that share each layer.")] = 1
    gpu_gib: Annotated[float, typer.Option(min=0.1, help="Memory of each, GiB.")] = 80.0
    utilization: Annotated[float, typer.Option(min=0.05, max=1.0, help="Share of it that vLLM takes.")] = 0.9
    draft: Annotated[Path | None, typer.Option(help="config.json of a draft model.")] = None
    as_json: AsJson = False


@spread(MemoryOptions)
def plan_memory(options: MemoryOptions) -> None:
    """Say whether a model fits, and how many sequences do; exit code 1 when it does not."""
    from backend.engine.memory import GIB, Demand, Model, Placement, plan

    placement = Placement(options.gpus, int(options.gpu_gib * GIB), options.utilization)
    try:
        model = Model(_read_architecture(options.config), options.precision)
        draft = Model(_read_architecture(options.draft)) if options.draft else None
        found = plan(model, Demand(options.context, options.sequences, options.kv), placement, draft)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    if options.as_json:
        from dataclasses import asdict

        put_json(asdict(found) | {"parameters": model.architecture.parameters, "estimated": sorted(found.estimated)})
    else:
        put(f"{model.architecture.parameters:,} parameters; on each of {options.gpus} GPUs:")
        for name, size in found.parts.items():
            put(f"  {name:<14}{size / GIB:>9.2f} GiB{' (estimate)' if name in found.estimated else ''}")
        put(f"  {'limit':<14}{found.limit_bytes / GIB:>9.2f} GiB")
        put(f"{'fits' if found.fits else 'does not fit'}: {found.reason}; fewest GPUs: {found.least_gpus or 'none'}")
    if not found.fits:
        raise typer.Exit(1)


def _read_plan(options: SweepOptions) -> Plan:
    from backend.engine.shapes import read_shape
    from backend.engine.sweep import Plan, check_plan

    try:
        shapes = tuple(read_shape(each) for each in options.shape or ["256:64"])
        counts, batches = _numbers(options.concurrency), _numbers(options.batch)
        return check_plan(Plan(counts, shapes, False, batches, options.warm_up, options.seconds))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _run_here(engine: Any, name: str, sweep_id: str) -> None:
    """Runs a queued sweep in this process. Raises ``CommandFailed`` when the engine does not run."""
    import threading

    from backend.engine.process import Pid
    from backend.engine.sweep_queue import run_queued
    from backend.engine.sweeper import make_scene
    from backend.settings import store
    from db.engine import reading
    from db.engines import read_engine
    from db.sweeps import read_sweep

    knobs = store.current(engine).settings.engine
    spec = spec_served(name)
    place = place_of(engine, spec)
    with reading(engine) as connection:
        row, kept = read_sweep(connection, sweep_id), read_engine(connection, name)
    if row is None:
        return
    folder = read_settled_environment().data_dir / "engines" / name
    leader = Pid(kept.pid, kept.pid_started_at or 0) if kept and kept.pid else None
    scene = make_scene(place, spec, knobs, folder, leader)
    threading.Thread(target=run_queued, args=(engine, row, scene), daemon=True).start()


def _follow(sweep_id: str, give_up: Callable[[], None]) -> Sweep:
    """Waits for a sweep with a progress bar on stderr; Ctrl-C cancels it."""
    from rich.console import Console
    from rich.progress import Progress

    from backend.reports.engine_sweeps import read_one_sweep

    ledger = _ledger()
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("waiting for the keeper", total=1.0)
        while True:
            found = read_one_sweep(ledger, sweep_id)
            if found is None:
                raise CommandFailed(f"Sweep {sweep_id} is gone.")
            bar.update(task, completed=found.row.progress, description=WAITING.get(found.row.state, found.row.state))
            if not found.is_running:
                return found
            try:
                time.sleep(POLL_S)
            except KeyboardInterrupt:
                give_up()


def _show(found: Sweep, options: SweepOptions) -> None:
    from backend.reports.engine_sweeps import compare_sweeps, read_one_sweep, read_sweeps

    others: list[Sweep] = []
    if options.against:
        one = read_one_sweep(_ledger(), options.against)
        others = [one] if one else [each for each in read_sweeps(_ledger(), options.against) if len(each.curve)][:1]
        if not others:
            raise CommandFailed(f"There is no sweep of or called {options.against}.")
    frame = compare_sweeps([found, *others])
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    columns = [*(["engine"] if others else []), *SHOWN]
    put_rows(map(_name if options.as_json else _round, rows), as_json=options.as_json, columns=columns)
    if found.row.state != "done":
        raise CommandFailed(f"The sweep is {found.row.state}: {found.row.message}")
    say(f"Sweep {found.row.id}: {found.reason}")


def _name(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _round(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): round(value, 1) if isinstance(value, float) else value for name, value in row.items()}


def _ledger() -> Ledger:
    from backend.reports.ledger import open_ledger

    return open_ledger(read_settled_environment())


def _read_architecture(path: Path) -> Any:
    import orjson

    from backend.engine.architecture import read_architecture

    path = path / "config.json" if path.is_dir() else path
    try:
        return read_architecture(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from None

"""Commands about local engines: add, start, stop, restart, change, apply, look, and keep them running."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli import engine_measure
from backend.cli.database import opened_current, read_settled_environment
from backend.cli.options import spread
from backend.cli.output import AsJson, CommandFailed, Reason, paint, put, put_json, put_rows, say, show_time

if TYPE_CHECKING:
    from backend.reports.engines import EngineLine

app = typer.Typer(help="Local engines: add, start, stop, change, watch, measure.", no_args_is_help=True)
engine_measure.register(app)

POLL_S = 0.5

Name = Annotated[str, typer.Argument(help="The engine's name.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until it is done; 0: do not wait.")]
Knobs = Annotated[list[str] | None, typer.Option("--set", help="KNOB=VALUE of the engine, the value as YAML.")]


@dataclass(frozen=True, kw_only=True)
class NewEngine:
    """What a new engine is, as the command line states it."""

    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, - and _.")]
    reason: Reason
    model: Annotated[str, typer.Option(help="Folder or name of the model.")]
    url: Annotated[str | None, typer.Option(help="Attach a server that runs there, up to and including /v1.")] = None
    server: Annotated[str, typer.Option(help="vllm, tgi, ollama or sglang.")] = "vllm"
    preset: Annotated[str | None, typer.Option(help="A starting point: see `governor engine presets`.")] = None
    knobs: Knobs = None
    as_json: AsJson = False


@app.command("list")
def show_engines(as_json: AsJson = False) -> None:
    """List every engine: what is wanted and how it is."""
    rows = [_row(line) for line in _lines()]
    columns = ["name", "kind", "server", "model", "wanted", "state", "port", "restarts", "staged", "message"]
    put_rows(rows, as_json=as_json, columns=columns)


@app.command("status")
def show_status(name: Name, as_json: AsJson = False) -> None:
    """Show one engine, what is staged and what happened last; exit code 1 unless it is as wanted."""
    from backend.reports.engines import read_engine_events
    from backend.reports.ledger import open_ledger

    line = _line(name)
    events = read_engine_events(open_ledger(read_settled_environment()), name, limit=10)
    if as_json:
        kept = [{each: getattr(event, each) for each in event.__slots__} for event in events]
        put_json(_row(line) | {"staged": line.staged, "events": kept})
    else:
        for key, value in _row(line).items():
            put(f"{key:<10}{'–' if value is None else value}")
        for change in line.staged:
            put(f"staged    {change['path']}: {change['before']} → {change['after']}")
        rows = [{"at": show_time(event.at)} | {n: getattr(event, n) for n in ("kind", "message")} for event in events]
        put_rows(rows, as_json=False, columns=["at", "kind", "message"])
    wanted = line.row.wanted if line.row else "stopped"
    if line.state != ("ready" if wanted == "running" else "stopped"):
        raise typer.Exit(1)


@app.command("add")
@spread(NewEngine)
def add(options: NewEngine) -> None:
    """Add an engine to the settings; `start` runs it. With --url it is attached and watched at once."""
    from backend import actions
    from backend.cli.settings import sign
    from backend.engine.presets import with_preset

    values: dict[str, Any] = {"name": options.name, "model": options.model, "server": options.server}
    if options.url is not None:
        values |= {"kind": "attached", "base_url": options.url}
    try:
        values = with_preset(options.preset, values | _read_knobs(options.knobs))
    except LookupError as error:
        raise typer.BadParameter(str(error.args[0])) from None
    with opened_current() as engine:
        version = actions.add_engine(engine, values, sign(options.reason))
    _tell_version(options.name, version.version, options.as_json)


@app.command("change")
def change(name: Name, reason: Reason, knobs: Knobs = None, as_json: AsJson = False) -> None:
    """Change knobs of an engine; what needs a new process is staged until `apply`."""
    from backend import actions
    from backend.cli.settings import sign

    with opened_current() as engine:
        version = actions.change_engine(engine, name, _read_knobs(knobs), sign(reason))
    _tell_version(name, version.version, as_json)


@app.command("remove")
def remove(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Take an engine and its deployments out of the settings; it is ended where it runs."""
    from backend import actions
    from backend.cli.settings import sign

    with opened_current() as engine:
        version = actions.remove_engine(engine, name, sign(reason))
    _tell_version(name, version.version, as_json)


@app.command("start")
def start(name: Name, reason: Reason, wait: Wait = 0, as_json: AsJson = False) -> None:
    """Start an engine, and keep it running."""
    _ask("start_engine", name, reason)
    _follow(name, "start", wait, as_json, lambda line: line.state == "ready")


@app.command("stop")
def stop(name: Name, reason: Reason, wait: Wait = 0, as_json: AsJson = False) -> None:
    """Stop an engine; open calls are finished first."""
    _ask("stop_engine", name, reason)
    _follow(name, "stop", wait, as_json, lambda line: line.state == "stopped")


@app.command("restart")
def restart(name: Name, reason: Reason, wait: Wait = 0, as_json: AsJson = False) -> None:
    """Restart an engine with what it was launched with; what is staged stays staged."""
    _ask("restart_engine", name, reason)
    _follow(name, "restart", wait, as_json, lambda line: line.state == "ready" and _is_done(line))


@app.command("apply")
def apply(name: Name, reason: Reason, wait: Wait = 0, as_json: AsJson = False) -> None:
    """Apply what is staged: measured before and after, taken back when a target breaks (exit code 1 then)."""
    _ask("apply_engine", name, reason)
    line = _follow(name, "apply", wait, as_json, lambda line: line.state == "ready" and _is_done(line))
    if wait and line.staged:
        raise CommandFailed(f"The change was taken back: {line.row.message if line.row else ''}")


@app.command("logs")
def show_logs(
    name: Name,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="Most lines.")] = 100,
    earlier: Annotated[int, typer.Option("--earlier", min=0, max=5, help="1: of the start before the last.")] = 0,
) -> None:
    """Print the last lines an engine said on this machine."""
    from backend.reports.engines import read_log
    from backend.reports.ledger import open_ledger

    _line(name)
    for line in read_log(open_ledger(read_settled_environment()), name, lines, earlier):
        put(line)


@app.command("presets")
def show_presets(as_json: AsJson = False) -> None:
    """List the starting points for new engines."""
    from backend.engine.presets import PRESETS

    rows = [{"name": name, "knobs": dict(knobs) if as_json else str(dict(knobs))} for name, knobs in PRESETS.items()]
    put_rows(rows, as_json=as_json)


@app.command("keep")
def keep() -> None:
    """Run the keeper alone, in the foreground: for a machine with engines and no gateway. Ctrl-C ends it."""
    import signal

    from backend.cli.database import await_database
    from backend.engine import keeper

    environment = read_settled_environment()
    await_database(environment)
    stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    keeper.run(environment, lambda: say("governor: keeping engines"), stops)


def _ask(act: str, name: str, reason: str) -> None:
    from backend import actions
    from backend.cli.settings import sign

    with opened_current() as engine:
        getattr(actions, act)(engine, name, sign(reason))


def _follow(name: str, wish: str, wait_s: float, as_json: bool, is_done: Callable[[EngineLine], bool]) -> EngineLine:
    """Waits until it is done, then tells how it is. Raises ``CommandFailed`` when time is up."""
    until = time.monotonic() + wait_s
    line = _line(name)
    while wait_s and not is_done(line):
        if time.monotonic() >= until:
            said = f" ({line.row.message})" if line.row and line.row.message else ""
            raise CommandFailed(f"{name} is {line.state} after {wait_s:g} s{said}.")
        time.sleep(POLL_S)
        line = _line(name)
    if as_json:
        put_json(_row(line))
    elif not wait_s and line.state == "unkept":
        put(f"{name}: wanted {line.row.wanted if line.row else '–'}, but no keeper runs; `governor up` runs one.")
    elif not wait_s:
        put(f"{paint(name, 'bold')}: {wish} is asked for; it is {line.state} now (--wait SECONDS waits for the end).")
    else:
        put(f"{paint(name, 'bold')} is {line.state}.")
    return line


def _is_done(line: EngineLine) -> bool:
    return line.row is not None and not line.row.request


def _lines() -> Sequence[EngineLine]:
    from backend.reports.engines import read_engine_lines
    from backend.reports.ledger import open_ledger
    from backend.settings import store

    with opened_current() as engine:
        settings = store.current(engine).settings
    return read_engine_lines(open_ledger(read_settled_environment()), settings)


def _line(name: str) -> EngineLine:
    lines = _lines()
    found = next((line for line in lines if line.name == name), None)
    if found is None:
        raise CommandFailed(f"There is no engine {name}; known: {', '.join(line.name for line in lines) or 'none'}.")
    return found


def _row(line: EngineLine) -> dict[str, Any]:
    spec, row = line.spec or line.launched, line.row
    said = {name: getattr(spec, name, None) for name in ("kind", "server", "model")}
    return {
        "name": line.name,
        **said,
        "wanted": row.wanted if row else "stopped",
        "state": line.state,
        "port": row.port if row else None,
        "restarts": row.restarts if row else 0,
        "ready_at": show_time(row.ready_at) if row else None,
        "staged": len(line.staged),
        "message": row.message if row else None,
    }


def _read_knobs(knobs: Sequence[str] | None) -> dict[str, Any]:
    import yaml

    pairs = [knob.partition("=") for knob in knobs or ()]
    if wrong := next((name for name, found, _ in pairs if not found), None):
        raise typer.BadParameter(f"{wrong!r} is not KNOB=VALUE.")
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def _tell_version(name: str, version: int, as_json: bool) -> None:
    put_json({"name": name, "version": version}) if as_json else put(f"{name}: settings version {version} is in force.")

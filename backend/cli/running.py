"""Commands that stay in the foreground: up, gateway, console, demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.output import CommandFailed, put

if TYPE_CHECKING:
    from backend.cli.processes import Role
    from backend.environment import Environment

Workers = Annotated[int | None, typer.Option(help="Gateway workers, instead of GOVERNOR_WORKERS.")]
GatewayPort = Annotated[int | None, typer.Option("--port", help="Gateway port, instead of GOVERNOR_GATEWAY_PORT.")]
ConsolePort = Annotated[int | None, typer.Option(help="Console port, instead of GOVERNOR_CONSOLE_PORT.")]

DEMO_FOLDER = ".governor-demo"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up")(run_everything)
    app.command("demo")(run_demo)
    app.command("gateway")(run_gateway)
    app.command("console")(run_console)


def run_everything(workers: Workers = None, port: GatewayPort = None, console_port: ConsolePort = None) -> None:
    """Run gateway, drainer and console until Ctrl-C."""
    environment = _prepare(workers=workers, gateway_port=port, console_port=console_port)
    _supervise(environment, gateway=True, console=True)


def run_gateway(workers: Workers = None, port: GatewayPort = None) -> None:
    """Run gateway workers and drainer until SIGTERM; SIGHUP replaces the workers without dropping a call."""
    environment = _prepare(workers=workers, gateway_port=port)
    _supervise(environment, gateway=True, console=False)


def run_console(console_port: Annotated[int | None, typer.Option("--port", help="Console port.")] = None) -> None:
    """Run the console alone."""
    environment = _prepare(console_port=console_port)
    _supervise(environment, gateway=False, console=True)


def run_demo(
    workers: Workers = None,
    port: GatewayPort = None,
    console_port: ConsolePort = None,
    calls: Annotated[int, typer.Option(min=0, max=5_000_000, help="Recorded calls to begin with.")] = 80_000,
) -> None:
    """Run everything on a data folder of its own, filled with two weeks of made-up traffic."""
    from backend.cli import demo

    os.environ.setdefault("GOVERNOR_DATA_DIR", DEMO_FOLDER)
    environment = _prepare(workers=workers, gateway_port=port, console_port=console_port)
    _supervise(environment, gateway=True, console=True, before=lambda: demo.fill(environment, calls), demo=True)


def _prepare(**options: int | None) -> Environment:
    """The environment with the command's options on top, for this process and its children alike."""
    from backend.cli.database import read_settled_environment

    for name, value in options.items():
        if value is not None:
            os.environ[f"GOVERNOR_{name.upper()}"] = str(value)
    environment = read_settled_environment()
    if sys.stdout.isatty():  # one line per call is for log collectors, not for the person at the keyboard
        os.environ.setdefault("GOVERNOR_LOG_LEVEL", "warning")
    os.environ["GOVERNOR_DATA_DIR"] = str(environment.data_dir.resolve())
    return read_settled_environment()


def _supervise(
    environment: Environment,
    *,
    gateway: bool,
    console: bool,
    before: Callable[[], None] | None = None,
    demo: bool = False,
) -> None:
    from backend.cli.checks_supply import refuse_tampered_packages
    from backend.cli.database import await_database
    from backend.cli.folder import claim_folder
    from backend.cli.summary import write_summary
    from backend.cli.supervisor import Supervisor

    if gateway:
        refuse_tampered_packages()
        claim_folder(environment.data_dir)
    roles = [*(_gateway_roles(environment) if gateway else ()), *(_console_roles(environment) if console else ())]
    if demo:
        roles.append(_visitor_role())
    await_database(environment)
    if before:
        before()
    summary = write_summary(environment, gateway=gateway, console=console, demo=demo)
    supervisor = Supervisor(
        roles,
        drain_deadline_s=environment.drain_deadline_s,
        on_ready=lambda: _announce(summary),
        rolls=gateway and not console,
    )
    raise typer.Exit(supervisor.run())


def _announce(summary: str) -> None:
    """Whoever reads our output may have gone; that stops nothing."""
    with suppress(OSError):
        put(summary)
        sys.stdout.flush()


def _gateway_roles(environment: Environment) -> list[Role]:
    from backend.cli.listening import Address, open_listeners
    from backend.cli.processes import DRAINER, KEEPER, WORKERS, Role

    address = Address(environment.gateway_host, environment.gateway_port, "GOVERNOR_GATEWAY_PORT")
    listeners = open_listeners(address, environment.workers)
    workers = [Role("gateway", f"gateway worker {i}", WORKERS, listener) for i, listener in enumerate(listeners, 1)]
    return [*workers, Role("drainer", "drainer", DRAINER), Role("keeper", "keeper of engines", KEEPER)]


def _console_roles(environment: Environment) -> list[Role]:
    from backend.cli.child import APP
    from backend.cli.listening import Address, require_free
    from backend.cli.processes import CONSOLE, Role

    if not APP.exists():
        raise CommandFailed("The console (app.py) is not part of this installation; run `governor gateway` instead.")
    require_free(Address(environment.console_host, environment.console_port, "GOVERNOR_CONSOLE_PORT"))
    return [Role("console", "console", CONSOLE, silent=True)]


def _visitor_role() -> Role:
    from backend.cli.processes import VISITORS, Role

    return Role("visitors", "visitors of the demo", VISITORS, silent=True)

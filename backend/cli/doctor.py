"""The command `doctor`: what stands between this machine and a Governor that works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from backend.cli.output import AsJson, paint, put, put_json

if TYPE_CHECKING:
    from backend.cli.checks import Finding

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "red")}


def diagnose(as_json: AsJson = False) -> None:
    """Check this machine and this installation; exit code 1 when something is wrong."""
    from backend.cli import checks, checks_running, checks_supply
    from backend.cli.database import read_settled_environment

    environment = read_settled_environment()
    sources: list[Callable[[], Iterator[Finding]]] = [
        checks.check_python,
        checks.check_sqlite,
        lambda: checks.check_folder(environment),
        lambda: checks.check_secrets(environment),
        lambda: checks_running.check_ports(environment),
        lambda: checks_running.check_database(environment),
        lambda: checks_running.check_redis(environment),
        lambda: checks_running.check_gateway(environment),
        lambda: checks_running.check_drainer(environment),
        checks_supply.check_litellm,
        checks_supply.check_path_files,
    ]
    found = [finding for source in sources for finding in source()]
    for finding in found:
        _show(finding, as_json=as_json)
    if any(finding.verdict == "wrong" for finding in found):
        raise typer.Exit(1)


def _show(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        put_json({"check": finding.check, "verdict": finding.verdict, "text": finding.text})
        return
    word, colour = MARKS[finding.verdict]
    put(f"{paint(f'{word:<6}', colour)} {finding.check:<10} {finding.text}")

"""Commands about settings: show, set one knob, apply a file, compare, list, roll back."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.database import opened_current
from backend.cli.output import AsJson, CommandFailed, Reason, paint, put, put_json, put_rows, show_time

app = typer.Typer(help="The knobs: show, change, compare, roll back.", no_args_is_help=True)

BasedOn = Annotated[int | None, typer.Option(help="Refuse if the settings changed since this version.")]


@app.command("show")
def show(
    path: Annotated[str | None, typer.Argument(help="A section or a knob, such as cache.ttl_s.")] = None,
    version: Annotated[int | None, typer.Option(help="A version other than the one in force.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the settings in force, or one section or knob of them."""
    from backend.settings import store
    from backend.settings.document import dump

    with opened_current() as engine:
        found = store.current(engine) if version is None else store.get(engine, version)
    values = _pick(dump(found.settings), path) if path else dump(found.settings)
    if as_json:
        put_json(values if path else {"version": found.version, "settings": values})
        return
    put(paint(f"# version {found.version} by {found.actor}: {found.reason}", "dim"))
    put(_write_yaml(values))


@app.command("set", context_settings={"ignore_unknown_options": True})  # a value may start with a dash
def set_knob(
    path: Annotated[str, typer.Argument(help="A knob, such as cache.ttl_s.")],
    value: Annotated[str, typer.Argument(help="Its new value, as YAML.")],
    reason: Reason,
    based_on: BasedOn = None,
    as_json: AsJson = False,
) -> None:
    """Change one knob."""
    import yaml

    from backend.settings import store
    from backend.settings.document import dump

    section, _, rest = path.partition(".")
    with opened_current() as engine:
        found = store.current(engine)
        document = dump(found.settings)
        parent = _pick(document, path.rpartition(".")[0]) if rest else document
        if not isinstance(parent, dict) or path.rpartition(".")[2] not in parent:
            raise CommandFailed(f"There is no knob {path}. `governor settings show {section}` lists them.")
        parent[path.rpartition(".")[2]] = yaml.safe_load(value)
        _apply(engine, {section: document[section]}, reason, found.version if based_on is None else based_on, as_json)


@app.command("apply")
def apply_file(
    file: Annotated[Path, typer.Argument(help="YAML or JSON; a section in it replaces that section.")],
    reason: Reason,
    based_on: BasedOn = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the sections of a file in force as one new version."""
    sections = _read_sections(file)
    with opened_current() as engine:
        if dry_run:
            _preview(engine, sections, as_json)
        else:
            _apply(engine, sections, reason, based_on, as_json)


@app.command("diff")
def diff(
    before: Annotated[int, typer.Argument(help="A version.")],
    after: Annotated[int | None, typer.Argument(help="Another; the one in force when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions."""
    from backend.settings import store

    with opened_current() as engine:
        found = store.diff(engine, before, store.current(engine).version if after is None else after)
    put_json(found.changes) if as_json else put(_colour_diff(found.text))


@app.command("history")
def history(
    limit: Annotated[int, typer.Option(min=1, help="Most versions to list.")] = 20, as_json: AsJson = False
) -> None:
    """List versions, newest first."""
    from backend.settings import store

    with opened_current() as engine:
        lines = store.history(engine, limit=limit)
    rows = [
        {
            "version": line.version,
            "created_at": show_time(line.created_at),
            "actor": line.actor,
            "reason": line.reason,
            "changes": line.changes if as_json else len(line.changes),
        }
        for line in lines
    ]
    put_rows(rows, as_json=as_json, columns=["version", "created_at", "actor", "changes", "reason"])


@app.command("rollback")
def rollback(
    version: Annotated[int, typer.Argument(help="The version whose values to put in force again.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Put an earlier version's values in force again, as a new version."""
    from backend import actions

    with opened_current() as engine:
        _tell(actions.rollback_settings(engine, version, sign(reason)), as_json)


def sign(reason: str) -> Any:
    """Who asks on the command line, and why. Raises ``CommandFailed`` without a reason."""
    from backend.settings.signature import Signature

    return Signature(actor=f"cli:{getpass.getuser()}", reason=reason)


def _apply(engine: Any, sections: Mapping[str, Any], reason: str, based_on: int | None, as_json: bool) -> None:
    from backend import actions
    from backend.settings.store import Change

    _tell(actions.apply_settings(engine, Change(sections, sign(reason), based_on)), as_json)


def _tell(version: Any, as_json: bool) -> None:
    if as_json:
        put_json({"version": version.version, "actor": version.actor, "reason": version.reason})
    else:
        put(f"Version {version.version} is in force; running workers take it within a second.")


def _preview(engine: Any, sections: Mapping[str, Any], as_json: bool) -> None:
    from backend.settings import store
    from backend.settings.diff import compare, write_unified
    from backend.settings.document import dump, validate

    before = dump(store.current(engine).settings)
    after = dump(validate({**before, **sections}))
    if as_json:
        put_json(compare(before, after))
    else:
        put(_colour_diff(write_unified(before, after, ("in force", "proposed"))))


def _read_sections(file: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not document:
        raise CommandFailed(f"{file} must hold sections of settings, such as `cache:`.")
    return document


def _pick(document: Any, path: str) -> Any:
    """The part of a document at a path; members of lists are found by their name."""
    found = document
    for step in path.split("."):
        if isinstance(found, list):
            found = next((each for each in found if step in (each.get("name"), each.get("model"))), None)
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            raise CommandFailed(f"There is no {path} in the settings.")
    return found


def _write_yaml(values: Any) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120).removesuffix("...\n").rstrip("\n")


def _colour_diff(text: str) -> str:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = [paint(line, colours[line[0]]) if line[:1] in colours else line for line in text.splitlines()]
    return "\n".join(lines) or "No difference."

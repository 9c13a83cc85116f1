"""The command `governor`: every command, and how failures are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from backend.cli import batch, cache, calls, database, doctor, engine, keys, prices, running, settings
from backend.cli.output import AsJson, CommandFailed, paint, put, put_json, say

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="governor",
    help="Governor: see and steer what LLM calls cost and how fast they are.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
running.register(app)
app.add_typer(settings.app, name="settings")
app.add_typer(calls.app, name="calls")
app.add_typer(keys.app, name="keys")
app.add_typer(cache.app, name="cache")
app.add_typer(batch.app, name="batch")
app.add_typer(prices.app, name="prices")
app.add_typer(engine.app, name="engine")
app.add_typer(database.app, name="db")
app.command("doctor")(doctor.diagnose)


@app.callback()
def choose_folder(
    data_dir: Annotated[str | None, typer.Option(help="Data folder, instead of GOVERNOR_DATA_DIR.")] = None,
) -> None:
    """Governor: see and steer what LLM calls cost and how fast they are."""
    if data_dir:
        os.environ["GOVERNOR_DATA_DIR"] = data_dir


@app.command("version")
def show_version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import version

    release = version("governor")
    put_json({"version": release}) if as_json else put(f"governor {release}")


def run(arguments: Sequence[str]) -> int:
    """Runs a command; returns 0 when it succeeded, 1 when it failed, 2 when it was called wrongly."""
    try:
        code = app(args=list(arguments), prog_name="governor", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (Exception, SystemExit) as error:
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            return _forget_reader()
        if os.environ.get("GOVERNOR_LOG_LEVEL") == "debug":
            raise
        return _explain(error, as_json="--json" in arguments)
    return code if isinstance(code, int) else OK


def _forget_reader() -> int:
    """Whoever read our output has seen enough, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _explain(error: BaseException, *, as_json: bool) -> int:
    """One line for any failure. Where it happened is shown with ``GOVERNOR_LOG_LEVEL=debug``."""
    if isinstance(error, typer.TyperException):
        return _tell(error.format_message(), "invalid_request_error", as_json=as_json, code=error.exit_code)
    kind = getattr(error, "type", None) or "server_error"
    if isinstance(error, CommandFailed) or hasattr(error, "status"):
        return _tell(str(error), kind, as_json=as_json, body=getattr(error, "body", None))
    text = " ".join(str(error).split()) or "no message"
    line = text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"
    return _tell(line[:500], kind, as_json=as_json)


def _tell(message: str, kind: str, *, as_json: bool, code: int = FAILED, body: object = None) -> int:
    import orjson

    if callable(body) and as_json:
        say(body().decode())
    elif as_json:
        error = {"message": message, "type": kind, "param": None, "code": "usage" if code == MISUSED else "failed"}
        say(orjson.dumps({"error": error}).decode())
    else:
        say(f"{paint('governor:', 'red', stream=sys.stderr)} {message}")
    return code


def main() -> None:
    """The entry point of the command line."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

"""`governor` commands in forked processes: their imports, most of what a command costs, are paid once."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

LOADED = ["backend.cli.main", "backend.actions", "backend.reports.exports", "backend.reports.totals"]
LOADED += ["backend.reports.ledger", "backend.pricing.seed", "db.schema", "db.call_reads", "db.attempt_reads"]
OUTPUTS = ("out", "err")

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["__main__", *LOADED])


def run_governor(arguments: tuple[str, ...], environment: dict[str, str], timeout_s: float = 120.0) -> str:
    """What `governor ARGUMENTS` writes; raises RuntimeError with its complaint when it fails or takes too long."""
    with tempfile.TemporaryDirectory() as folder:
        for name in OUTPUTS:
            (Path(folder) / name).touch()
        process = _forking.Process(target=_play, args=(arguments, environment, folder))
        process.start()
        process.join(timeout_s)
        code = process.exitcode
        process.kill()
        process.join()
        written, complaint = ((Path(folder) / name).read_text(errors="replace") for name in OUTPUTS)
    if code != 0:
        raise RuntimeError(f"governor {' '.join(arguments)} ended with {code}: {complaint[-2000:]}")
    return written


def _play(arguments: tuple[str, ...], environment: dict[str, str], folder: str) -> None:
    for number, name in enumerate(OUTPUTS, start=1):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environment)
    from backend.cli.main import run

    sys.exit(run(arguments))

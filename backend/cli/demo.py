"""Fills the demo's data folder: made-up calls through the spool and the drainer, a settings change in their middle."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import orjson

from backend.cli import demo_cast as cast
from backend.cli.demo_traffic import Traffic
from backend.cli.output import CommandFailed, say
from backend.ledger.drainer import Drainer
from backend.ledger.ledger import Ledger
from backend.ledger.spool import Spool, worker_name
from backend.pricing.prices import PriceBook
from backend.settings.diff import compare
from backend.settings.document import dump, validate
from backend.settings.knobs import LedgerSettings, Settings
from db.call_reads import read_first_at, read_last_at
from db.engine import connect_writer, reading, writing
from db.prices import load_prices
from db.settings import SettingsRow, insert_version, list_lines

if TYPE_CHECKING:
    from backend.environment import Environment
    from db.engine import Engine

SPAN_MS = 14 * 86_400_000
LEAST_GAP_MS = 3_600_000
BATCH = 2_000


class Progress(Protocol):
    """Told how many calls more are done."""

    def __call__(self, done: int) -> None: ...  # noqa: D102


def fill(environment: Environment, count: int) -> None:
    """Fills the last fortnight, or what of it passed since the demo last ran.

    Raises ``CommandFailed`` when the database holds calls that the demo did not make.
    """
    engine = connect_writer(environment.database)
    try:
        end_at = time.time_ns() // 1_000_000
        start_at = _find_start(engine, end_at)
        missing = round(count * (end_at - start_at) / SPAN_MS)
        if end_at - start_at < LEAST_GAP_MS or not missing:
            return
        _write_settings(engine, start_at, (start_at + end_at) // 2)
        with _shown(missing) as advance:
            _write_calls(environment, engine, (missing, start_at, end_at), advance)
    finally:
        engine.dispose()


def _find_start(engine: Engine, end_at: int) -> int:
    with reading(engine) as connection:
        first_at, last_at = read_first_at(connection), read_last_at(connection)
        lines = list_lines(connection, limit=1_000)
    if first_at is None or last_at is None:
        return end_at - SPAN_MS
    if not any(line.actor == cast.DEMO for line in lines):
        raise CommandFailed(
            "This database holds calls that are not the demo's; set GOVERNOR_DATA_DIR to another folder."
        )
    return max(last_at + 1, end_at - SPAN_MS)


def _write_settings(engine: Engine, start_at: int, changed_at: int) -> None:
    """Two versions with the times of the story they belong to; nothing where versions exist already."""
    before: Settings | None = None
    with writing(engine) as connection:
        if list_lines(connection, limit=1):
            return
        for version, at in ((1, start_at), (2, changed_at)):
            document = dump(before or Settings())
            after = validate({**document, **cast.sections(after=version == 2)})
            reason = cast.REASON_AFTER if version == 2 else cast.REASON_BEFORE
            changes = orjson.dumps(compare(document, dump(after))).decode()
            values = orjson.dumps(dump(after)).decode()
            insert_version(connection, SettingsRow(version, changes, cast.DEMO, reason, at, values))
            before = after


def _write_calls(environment: Environment, engine: Engine, plan: tuple[int, int, int], advance: Progress) -> None:
    """Every call takes the path of a real one: into a spool, then drained."""
    settings = LedgerSettings(capture=True)  # a few calls bring bodies with them
    drainer = Drainer(engine, environment.spool_dir, lambda: settings)
    ledger = Ledger(Spool(environment.spool_dir, worker_name()), lambda: settings)
    with reading(engine) as connection:
        book = PriceBook(load_prices(connection))
    traffic = Traffic(*plan, book=book)
    made = iter(traffic)
    while batch := list(islice(made, BATCH)):
        for entry in batch:
            ledger.record(entry)
        for label in traffic.labels:
            ledger.label(label)
        traffic.labels.clear()
        while drainer.drain_once():
            pass
        advance(len(batch))
    ledger.close()
    drainer.drain()


def _ignore(done: int) -> None:
    del done


@contextmanager
def _shown(total: int) -> Iterator[Progress]:
    """A bar on a terminal; a line at the start and at the end elsewhere."""
    if not sys.stderr.isatty():
        say(f"Making up {total:,} calls of the last two weeks …")
        yield _ignore
        say("… done.")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("Making up two weeks of calls", total=total)
        yield lambda done: bars.advance(task, done)

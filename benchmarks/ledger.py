"""The ledger: microseconds per call on the hot path, rows per second drained to SQLite and to PostgreSQL.

Each call is what the gateway writes: an opening record with one attempt before dispatch, a closing record after. Rows
are calls plus attempts as they stand in the database; their rollups are written in the same transactions. The drainer
runs on one core; PostgreSQL's own processes may use another.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.call import Attempt, Entry
from backend.ledger.drainer import Drainer
from backend.ledger.ledger import Ledger
from backend.ledger.spool import Spool, worker_name
from backend.settings.knobs import LedgerSettings
from benchmarks.rig.machine import describe, pick_cores, pin
from db import schema
from db.calls import close_calls, lock_calls
from db.columns import CALL_COLUMNS
from db.engine import Connection, Engine, connect_writer, writing

MODELS = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash", "llama-3.3-70b"]
FEATURES = ["search", "chat", "summary", "triage", "extract", None]


@dataclass(slots=True)
class Drained:
    """One drain: how many calls, in how many seconds, of which our own process computed so many."""

    calls: int
    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000, help="calls per drain")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, the databases in turn")
    options = parser.parse_args()
    machine, when = describe(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder, ExitStack() as stack:
        databases = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}", **start_postgres(Path(folder), stack)}
        pin(os.getpid(), pick_cores()[0])
        hot = [measure_hot_path(Path(folder), LedgerSettings()) for _ in range(options.rounds)]
        power = [measure_power(Path(folder)) for _ in range(options.rounds)]
        drains: dict[str, list[Drained]] = {name: [] for name in databases}
        floors: dict[str, list[Drained]] = {name: [] for name in databases}
        for _ in range(options.rounds):
            for name, url in databases.items():
                drains[name].append(measure_drain(url, Path(folder), options.calls))
                floors[name].append(measure_floor(url, options.calls))
    print(f"{when}. {machine}. {options.calls:,} calls a drain, medians of {options.rounds} rounds.")
    print(f"`{' '.join(['python', *sys.argv])}`\n")
    print("| | measured | goal |\n|---|---|---|")
    print(f"| open + close of one call on the hot path | {median(hot):.1f} µs | ≤ 30 µs |")
    print(f"| wait for power durability, 32 calls at once | {median(power):.2f} ms | |")
    for name in databases:
        show_drains(name, drains[name], floors[name])


def show_drains(name: str, drains: list[Drained], floors: list[Drained]) -> None:
    rows = median(2 * each.calls / each.wall_s for each in drains)
    cpu = median(each.cpu_s / each.calls for each in drains) * 1e6
    floor = median(each.calls / each.wall_s for each in floors)
    print(f"| drain to {name} | {rows:,.0f} rows/s, {cpu:.0f} µs of our processor time a call | ≥ 50,000 rows/s |")
    print(f"| the same call rows written alone, no spool, attempts or rollups | {floor:,.0f} rows/s | |")


def measure_hot_path(folder: Path, settings: LedgerSettings, calls: int = 20_000) -> float:
    """Microseconds for both records of the median call, the making of the entry not counted."""
    ledger, spent = open_ledger(folder, settings), list[int]()
    random = Random(1)
    for _ in range(calls):
        entry, attempt = make_call(ledger.worker, random)
        before = time.perf_counter_ns()
        ledger.dispatching(entry, attempt)
        spent.append(time.perf_counter_ns() - before)
        finish(entry, attempt, random)
        before = time.perf_counter_ns()
        ledger.record(entry)
        spent[-1] += time.perf_counter_ns() - before
    ledger.close()
    return median(spent) / 1000


def measure_power(folder: Path) -> float:
    """Milliseconds that a call waits for its fsync when 32 are under way."""
    ledger, waits = open_ledger(folder, LedgerSettings(durability="power")), list[float]()
    random = Random(1)

    async def place() -> None:
        for _ in range(20):
            entry, attempt = make_call(ledger.worker, random)
            ledger.dispatching(entry, attempt)
            before = time.perf_counter()
            await ledger.durable()
            waits.append((time.perf_counter() - before) * 1000)

    async def place_all() -> None:
        await asyncio.gather(*[place() for _ in range(32)])

    asyncio.run(place_all())
    ledger.close()
    return median(waits)


def measure_drain(url: str, folder: Path, calls: int) -> Drained:
    spool = folder / f"spool-{time.time_ns()}"
    fill(open_ledger(spool, LedgerSettings(), nested=False), calls)
    engine = fresh_database(url)
    drainer = Drainer(engine, spool, LedgerSettings)
    drained = timed(calls, drainer.drain)
    engine.dispose()
    return drained


def measure_floor(url: str, calls: int) -> Drained:
    """Only the upsert of the call rows, in batches of 2,000."""
    engine, random, rows = fresh_database(url), Random(1), list[tuple[object, ...]]()
    for _ in range(calls):
        entry, attempt = make_call("w", random)
        finish(entry, attempt, random)
        entry.tags, entry.usage, entry.candidates = None, None, None
        rows.append(tuple(getattr(entry, name) for name in CALL_COLUMNS))

    def write() -> None:
        for start in range(0, calls, 2_000):
            with writing(engine) as connection:
                write_rows(connection, rows[start : start + 2_000])

    drained = timed(calls, write)
    engine.dispose()
    return drained


def write_rows(connection: Connection, rows: list[tuple[object, ...]]) -> None:
    lock_calls(connection, [str(row[0]) for row in rows])
    close_calls(connection, rows, fresh=True)


def timed(calls: int, work: Callable[[], object]) -> Drained:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Drained(calls, time.perf_counter() - wall, time.process_time() - cpu)


def fresh_database(url: str) -> Engine:
    engine = connect_writer(url)
    schema.upgrade(engine)
    schema.downgrade(engine, "base")
    schema.upgrade(engine)
    return engine


def open_ledger(folder: Path, settings: LedgerSettings, *, nested: bool = True) -> Ledger:
    place = folder / f"spool-{time.time_ns()}" if nested else folder
    return Ledger(Spool(place, worker_name()), lambda: settings)


def fill(ledger: Ledger, calls: int) -> None:
    """Records of many calls, 64 of them under way at any time; the worker is gone afterwards."""
    random, under_way = Random(2), list[tuple[Entry, Attempt]]()
    for _ in range(calls):
        entry, attempt = make_call(ledger.worker, random)
        ledger.dispatching(entry, attempt)
        under_way.append((entry, attempt))
        if len(under_way) == 64:
            close(ledger, under_way.pop(random.randrange(64)), random)
    for pair in under_way:
        close(ledger, pair, random)
    ledger.close()


def close(ledger: Ledger, pair: tuple[Entry, Attempt], random: Random) -> None:
    finish(*pair, random)
    ledger.record(pair[0])


def make_call(worker: str, random: Random) -> tuple[Entry, Attempt]:
    model = random.choice(MODELS)
    entry = Entry(
        worker=worker,
        endpoint="chat.completions",
        stream=True,
        tenant="default",
        key_id=f"key-{random.randrange(8)}",
        user=f"user-{random.randrange(1000)}",
        feature=random.choice(FEATURES),
        environment="production",
        tags={"release": "42"},
        model=model,
        deployment=f"{model}-eu",
        provider="openai",
        session_id=f"session-{random.randrange(10**6)}",
        settings_version=12,
        rule="default",
        route_reason="weighted",
        propensity=0.9,
        candidates=[f"{model}-eu", f"{model}-us"],
        cache_kind="miss",
    )
    attempt = Attempt(entry.id, 1, worker, f"{model}-eu", "openai", model, entry.started_at, reserved_nusd=1_000_000)
    entry.tries.append(attempt)
    return entry, attempt


def finish(entry: Entry, attempt: Attempt, random: Random) -> None:
    entry.state, entry.status, entry.http_status, entry.finish_reason, entry.attempts = "settled", "ok", 200, "stop", 1
    entry.prompt_tokens, entry.completion_tokens = int(random.lognormvariate(6, 1)), int(random.lognormvariate(5, 1))
    entry.usage_source, entry.price_id = "provider", "1f0c2f7c9a"
    entry.usage = {"prompt_tokens": entry.prompt_tokens, "completion_tokens": entry.completion_tokens}
    entry.cost_nusd = entry.baseline_nusd = 150 * entry.prompt_tokens + 600 * entry.completion_tokens
    entry.ttft_ms, entry.itl_ms = random.lognormvariate(6, 0.5), random.lognormvariate(2.5, 0.3)
    entry.latency_ms, entry.overhead_ms = entry.ttft_ms * 5, random.lognormvariate(-1, 0.2)
    attempt.state, attempt.http_status, attempt.price_id = "settled", 200, entry.price_id
    attempt.ttft_ms, attempt.latency_ms, attempt.cost_nusd = entry.ttft_ms, entry.latency_ms, entry.cost_nusd


def start_postgres(folder: Path, stack: ExitStack) -> dict[str, str]:
    """A server from its wheel, where that is installed: its name and URL."""
    try:
        from tests.faults.postgres import PostgresProcess  # noqa: PLC0415 - not every machine has the wheel

        server = PostgresProcess(folder)
    except ImportError:
        return {}
    server.command += ["-c", "fsync=on", "-c", "shared_buffers=128MB"]  # the tests' server does without
    server.start()
    stack.callback(server.remove)
    return {"PostgreSQL": server.url}


if __name__ == "__main__":
    main()

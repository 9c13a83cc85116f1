"""Panels of the console over large ledgers: milliseconds from the page's call to its numbers, per range.

Each ledger spans 90 days with 10 models, 30 keys and 2,000 users. Every panel opens its own connection, as a page does.
Prints one Markdown table per ledger; the target is 100 ms for any panel at 10 million calls.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.reports.attention import read_attention
from backend.reports.calls import CallQuery, count_matching, read_calls, read_strip
from backend.reports.filters import Scope, filter_values, preset_scope
from backend.reports.latency import latency_by, latency_histogram, latency_over_time, latency_summary
from backend.reports.ledger import Ledger
from backend.reports.markers import read_markers
from backend.reports.overview import read_kpis
from backend.reports.spend import over_time, spend_by
from backend.reports.status import read_freshness
from benchmarks.rig.machine import describe
from db.bounded import open_database
from db.engine import connect
from tests.fabricate import Plan, fabricate

RANGES = ("1h", "24h", "7d", "30d", "90d")
Panel = Callable[[Ledger, Scope], object]

PANELS: Mapping[str, Panel] = {
    "overview: key figures, courses, changes": read_kpis,
    "spend over time by model": lambda ledger, scope: over_time(ledger, scope, "model"),
    "spend over time by user": lambda ledger, scope: over_time(ledger, scope, "user"),
    "spend by model": lambda ledger, scope: spend_by(ledger, scope, "model"),
    "spend by key": lambda ledger, scope: spend_by(ledger, scope, "key_id"),
    "spend by user": lambda ledger, scope: spend_by(ledger, scope, "user"),
    "spend by key of one model": lambda ledger, scope: spend_by(ledger, scope.narrowed("model", "gpt-4o"), "key_id"),
    "spend by model of one key": lambda ledger, scope: spend_by(ledger, scope.narrowed("key_id", "key-1"), "model"),
    "latency over time": lambda ledger, scope: latency_over_time(ledger, scope, "latency_ms"),
    "latency summary": latency_summary,
    "latency by model": lambda ledger, scope: latency_by(ledger, scope, "model", "ttft_ms"),
    "latency histogram": lambda ledger, scope: latency_histogram(ledger, scope, "ttft_ms"),
    "calls: first page": lambda ledger, scope: read_calls(ledger, CallQuery(scope)),
    "calls: second page": lambda ledger, scope: read_calls(ledger, CallQuery(scope), f"{scope.end_at - 600_000}."),
    "calls: failed only": lambda ledger, scope: read_calls(ledger, CallQuery(scope.narrowed("status", "failed"))),
    "calls: one user": lambda ledger, scope: read_calls(ledger, CallQuery(scope.narrowed("user", "user-777"))),
    "calls: one key": lambda ledger, scope: read_calls(ledger, CallQuery(scope.narrowed("key_id", "key-29"))),
    "calls: count": lambda ledger, scope: count_matching(ledger, CallQuery(scope)),
    "calls: strip of bars": lambda ledger, scope: read_strip(ledger, CallQuery(scope)),
    "filter choices": lambda ledger, scope: filter_values(ledger, scope, "feature"),
    "needs attention": read_attention,
    "markers": read_markers,
    "freshness": lambda ledger, _: read_freshness(ledger),
}


def main() -> None:
    options = _read_options()
    when, unit = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "ms of CPU" if options.cpu else "ms"
    print(f"{when}. {describe()}. Medians of {options.rounds} rounds, {unit}.")
    print(f"`{' '.join(['python', *sys.argv])}`")
    for calls in options.calls:
        with _ledger_of(calls, options) as (ledger, plan):
            print(f"\n{calls:,} calls in {ledger.database.engine.dialect.name}\n")
            _print_table(_measure(ledger, plan, options))


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[1_000_000], help="ledger sizes (10 million: 11 GB)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the panels in turn")
    parser.add_argument("--url", help="an empty database to fill; a SQLite file in a temporary folder otherwise")
    parser.add_argument("--keep", type=Path, help="SQLite file to fill, or to read if it is there already")
    parser.add_argument("--cpu", action="store_true", help="CPU time instead of time: for SQLite on a busy machine")
    return parser.parse_args()


@contextmanager
def _ledger_of(calls: int, options: argparse.Namespace) -> Iterator[tuple[Ledger, Plan]]:
    plan = Plan(calls)
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
        file = options.keep or Path(folder) / "governor.db"
        url = options.url or f"sqlite:///{file}"
        if not (options.keep and file.exists()):
            began = time.monotonic()
            fabricate(connect(url), plan)
            print(f"{calls:,} calls made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        yield Ledger(open_database(url, 60_000), Path(folder)), plan


def _measure(ledger: Ledger, plan: Plan, options: argparse.Namespace) -> dict[tuple[str, str], float]:
    """Median milliseconds of each panel and range."""
    scopes = {name: preset_scope(name, now_at=plan.end_at - 1) for name in RANGES}
    clock = time.process_time if options.cpu else time.perf_counter
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for name, panel in PANELS.items():
            for span, scope in scopes.items():
                began = clock()
                panel(ledger, scope)
                times.setdefault((name, span), []).append((clock() - began) * 1000)
    return {place: median(each) for place, each in times.items()}


def _print_table(medians: Mapping[tuple[str, str], float]) -> None:
    print(f"| panel | {' | '.join(RANGES)} |")
    print(f"|---|{'---:|' * len(RANGES)}")
    for name in PANELS:
        print(f"| {name} | {' | '.join(f'{medians[name, span]:.0f}' for span in RANGES)} |")
    print(f"\nSlowest panel: {max(medians.values()):.0f} ms.")


if __name__ == "__main__":
    main()

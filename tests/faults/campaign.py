"""python -m tests.faults.campaign --kills N: long runs of chosen faults under load, with the reconciler's verdict."""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults.books import Books, Discrepancy
from tests.faults.load import Load, kill, mix
from tests.faults.postgres import PostgresProcess
from tests.faults.rig import PATIENT, Rig, compare

Fault = Callable[[], Awaitable[None]]


class Campaign:
    """Faults in an order decided by the seed, under steady mixed traffic, on one gateway."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.dice = random.Random(options.seed)
        self.postgres = PostgresProcess(folder) if options.postgres or options.outages else None
        environment = {"GOVERNOR_DATABASE_URL": self.postgres.url} if self.postgres else {}
        self.rig = Rig(folder, options.workers, environment)
        self.restarts_s: list[float] = []

    def schedule(self) -> list[Fault]:
        """The faults asked for, shuffled."""
        kinds = ["worker", "group", "drainer"]
        faults: list[Fault] = [self._killing(kinds[number % 3]) for number in range(self.options.kills)]
        faults += [self._terminate] * self.options.sigterms
        faults += [self._stop_postgres, self._freeze_postgres] * self.options.outages
        self.dice.shuffle(faults)
        return faults

    async def run(self) -> tuple[Books, list[Discrepancy]]:
        """Run the schedule, stop in order and compare the books."""
        if self.postgres:
            self.postgres.start()
        self.rig.start({"upstream": PATIENT})
        load = Load(self.rig, mix(self.dice), self.options.per_second)
        for fault in self.schedule():
            await asyncio.sleep(self.dice.uniform(0.2, 1.5))
            began = time.monotonic()
            await fault()
            self.restarts_s.append(time.monotonic() - began)
        await asyncio.sleep(self.options.seconds)
        await load.stop()
        if self.rig.gateway.stop() != 0:
            raise RuntimeError("the gateway did not stop in order")
        self.rig.upstream.stop()
        books = self.rig.read_books()
        return books, compare(books)

    def _killing(self, kind: str) -> Fault:
        return lambda: kill(self.rig.gateway, kind)

    async def _terminate(self) -> None:
        if await asyncio.to_thread(self.rig.gateway.stop) != 0:
            raise RuntimeError("SIGTERM did not end in exit code 0")
        await asyncio.to_thread(self.rig.gateway.start)

    async def _stop_postgres(self) -> None:
        assert self.postgres is not None
        await asyncio.to_thread(self.postgres.stop_at_once)
        await asyncio.sleep(self.options.away_s)
        await asyncio.to_thread(self.postgres.start)

    async def _freeze_postgres(self) -> None:
        assert self.postgres is not None
        self.postgres.freeze()
        await asyncio.sleep(self.options.away_s)
        self.postgres.thaw()

    def remove(self) -> None:
        """Leave no process behind."""
        self.rig.remove()
        if self.postgres:
            self.postgres.remove()


def summarise(options: argparse.Namespace, books: Books, found: list[Discrepancy], campaign: Campaign) -> str:
    """The figures of a campaign as JSON."""
    figures = {
        "seed": options.seed,
        "faults": len(campaign.restarts_s),
        "slowest_recovery_s": round(max(campaign.restarts_s, default=0.0), 2),
        "calls_placed": len(books.client),
        "ends": Counter(line["end"] for line in books.client),
        "upstream_acceptances": len(books.upstream),
        "states": Counter(call["state"] for call in books.calls),
        "cost_nusd": sum(call["cost_nusd"] or 0 for call in books.calls),
        "discrepancies": Counter(discrepancy.kind for discrepancy in found),
        "evidence": [str(discrepancy) for discrepancy in found[:20]],
    }
    return json.dumps(figures, indent=2)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign")
    parser.add_argument("--kills", type=int, default=0, help="kill -9 of a worker, the drainer or everything")
    parser.add_argument("--sigterms", type=int, default=0, help="orderly restarts under load")
    parser.add_argument("--outages", type=int, default=0, help="PostgreSQL stopped at once and frozen, so often each")
    parser.add_argument("--away-s", type=float, default=30.0, help="seconds PostgreSQL stays away")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of load after the last fault")
    parser.add_argument("--per-second", type=float, default=40.0, help="calls per second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL instead of SQLite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where journals, logs and data are kept")
    return parser.parse_args()


def main() -> int:
    """Run a campaign; 0 when the books balance, 1 when they do not."""
    options = read_options()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="governor-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(options, folder)
    try:
        books, found = asyncio.run(campaign.run())
    finally:
        campaign.remove()
    sys.stdout.write(summarise(options, books, found, campaign) + f"\nfiles: {folder}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

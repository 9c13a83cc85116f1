"""one gateway, one scripted upstream, and the three books they leave; the scene of every fault test."""

import asyncio
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults.books import Books, Discrepancy
from tests.faults.clients import Ask, ClientJournal, Outcome, place_all, place_call, read_client_journal, run_load
from tests.faults.processes import Gateway, UpstreamProcess
from tests.faults.reconcile import reconcile
from tests.faults.upstream import read_upstream_journal

RATES = {"input": "0.15", "output": "0.60", "cache_read": "0.075"}
Settings = dict[str, Any]
PATIENT: Settings = {"cooldown_failures": 1000, "backoff_ms": 10}


def compare(books: Books) -> list[Discrepancy]:
    """What does not add up when every row must be closed."""
    return reconcile(books, RATES, now_ms=int(time.time() * 1000))


class Rig:
    """A gateway on its own data folder in front of a scripted upstream; `close` stops both and compares the books."""

    def __init__(self, folder: Path, workers: int = 1, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.upstream = UpstreamProcess(folder)
        self.gateway = Gateway(folder, environment, workers)
        self.journal = ClientJournal(folder / "client.jsonl")

    def start(self, settings: Settings | None = None, **deployment: Any) -> None:
        """Start both; `deployment` overrides fields of the one deployment that answers to every model."""
        self.upstream.start()
        self.gateway.run_command("db", "upgrade")
        self.apply({"deployments": [self.deployment(**deployment)], "upstream": PATIENT} | (settings or {}))
        self.gateway.start()

    def deployment(self, **changes: Any) -> Settings:
        """A deployment of the scripted upstream."""
        fixed = {"name": "local", "model": "*", "provider": "openai", "api_key_env": "UPSTREAM_KEY", "price": RATES}
        return fixed | {"base_url": self.upstream.url} | changes

    def apply(self, settings: Settings) -> None:
        """`governor settings apply` of a partial document."""
        path = self.folder / "settings.yaml"
        path.write_text(json.dumps(settings))
        self.gateway.run_command("settings", "apply", str(path), "--reason", "fault test")

    async def place(self, ask: Ask) -> Outcome:
        """Place one call."""
        return self.journal.write(await place_call(self.gateway.port, ask))

    async def place_all(self, asks: Iterable[Ask], at_once: int = 20) -> list[Outcome]:
        """Place calls, some at once."""
        return await place_all(self.gateway.port, asks, self.journal, at_once)

    async def load(self, asks: Iterable[Ask], per_second: float) -> list[Outcome]:
        """Place calls on the clock."""
        return await run_load(self.gateway.port, asks, per_second, self.journal)

    def acceptances(self, *outcomes: Outcome) -> list[dict[str, Any]]:
        """What the upstream accepted for these calls, or for all."""
        markers = {outcome.marker for outcome in outcomes}
        journal = read_upstream_journal(self.upstream.journal)
        return [record for record in journal if not markers or record["marker"] in markers]

    async def wait_rows(self, *outcomes: Outcome | Ask) -> list[dict[str, Any]]:
        """The closed rows of these calls, as soon as all of them have arrived in the ledger."""
        markers = {outcome.marker for outcome in outcomes}
        async with asyncio.timeout(30):
            while True:
                exported = await asyncio.to_thread(self.gateway.export)
                rows = [row for row in exported if row["session_id"] in markers and row["state"] != "open"]
                if markers == {row["session_id"] for row in rows}:
                    return rows

    def read_books(self) -> Books:
        """The three books as they stand."""
        with ThreadPoolExecutor() as pool:
            calls = pool.submit(self.gateway.export)
            attempts = pool.submit(self.gateway.export, "--attempts")
            totals = pool.submit(self.gateway.run_command, "calls", "totals", "--json")
            return Books(
                client=read_client_journal(self.journal.path),
                upstream=read_upstream_journal(self.upstream.journal),
                calls=calls.result(),
                attempts=attempts.result(),
                totals=json.loads(totals.result()),
            )

    def close(self) -> Books:
        """Stop in order, which drains everything, and assert that nothing is lost, doubled or mispriced."""
        assert self.gateway.stop() == 0, self.gateway.log.read_text(errors="replace")[-3000:]
        self.upstream.stop()
        books = self.read_books()
        found = compare(books)
        shown = "\n".join(map(str, found[:20]))
        assert not found, f"{len(found)} discrepancies, files in {self.folder}:\n{shown}"
        return books

    def remove(self) -> None:
        """Kill whatever still runs."""
        self.journal.close()
        self.gateway.kill_group()
        self.upstream.kill_group()

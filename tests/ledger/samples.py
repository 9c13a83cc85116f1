"""Calls made up for the ledger's tests, and what the database must say about them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import func, select

from backend.call import Attempt, Entry
from backend.ledger.drainer import Drainer
from backend.ledger.ledger import Ledger
from backend.ledger.spool import Spool, worker_name
from backend.settings.knobs import LedgerSettings
from db.cache_labels import Label, read_labels
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS
from db.engine import Engine, reading
from db.tables import attempts, calls, dimension_rollups, latency_totals, quarantine, rollups

SETTINGS = LedgerSettings(headroom_mb=1)
HOUR_MS = 3_600_000


@dataclass
class Books:
    """A ledger with its spool and the drainer that empties it."""

    engine: Engine
    folder: Path
    settings: LedgerSettings = SETTINGS
    segment_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        self.made: list[Entry] = []
        self.random = Random(7)
        self.drainer = Drainer(self.engine, self.folder, lambda: self.settings)
        self.ledger = self.open_ledger()

    def open_ledger(self) -> Ledger:
        spool = Spool(self.folder, worker_name(), segment_bytes=self.segment_bytes)
        return Ledger(spool, lambda: self.settings)

    def open_call(self, **values: Any) -> tuple[Entry, Attempt]:
        entry = make_entry(self.ledger.worker, self.random, **values)
        attempt = make_attempt(entry)
        self.ledger.dispatching(entry, attempt)
        self.made.append(entry)
        return entry, attempt

    def close_call(self, entry: Entry, attempt: Attempt) -> None:
        finish(entry, attempt, self.random)
        self.ledger.record(entry)

    def make(self, count: int, **values: Any) -> list[Entry]:
        opened = [self.open_call(**values) for _ in range(count)]
        for entry, attempt in opened:
            self.close_call(entry, attempt)
        return [entry for entry, _ in opened]

    def restart_drainer(self) -> None:
        self.drainer = Drainer(self.engine, self.folder, lambda: self.settings)

    def rows(self) -> dict[str, dict[str, Any]]:
        with reading(self.engine) as connection:
            return {row["id"]: dict(row) for row in connection.execute(select(calls)).mappings()}

    def labels(self) -> list[Label]:
        with reading(self.engine) as connection:
            return read_labels(connection)

    def quarantined(self) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(quarantine)))

    def attempt_rows(self) -> list[dict[str, Any]]:
        with reading(self.engine) as connection:
            query = select(attempts).order_by(attempts.c.call_id, attempts.c.number)
            return [dict(row) for row in connection.execute(query).mappings()]

    def assert_exact(self) -> None:
        """Every call made is there once, as it was, and the rollups sum to the very same."""
        rows = self.rows()
        assert rows.keys() == {entry.id for entry in self.made}
        for entry in self.made:
            row = rows[entry.id]
            assert (row["state"], row["cost_nusd"], row["model"]) == (entry.state, entry.cost_nusd, entry.model)
        self.assert_rollups_agree()

    def assert_rollups_agree(self) -> None:
        """Rollups say what the closed rows say, to the nano-dollar."""
        closed = [row for row in self.rows().values() if row["state"] != "open"]
        expected = (len(closed), sum(row["cost_nusd"] or 0 for row in closed))
        for table in (rollups, dimension_rollups):
            assert self._sums(table) == expected
        by_model: Counter[str] = Counter()
        for row in closed:
            by_model[row["model"][:100]] += 1
        assert self._by_model() == by_model
        timed = sum(row["latency_ms"] is not None for row in closed)
        assert self._latencies() == timed

    def _sums(self, table: Any) -> tuple[int, int]:
        query = select(func.coalesce(func.sum(table.c.calls), 0), func.coalesce(func.sum(table.c.cost_nusd), 0))
        if "dimension" in table.c:
            query = query.where(table.c.dimension == "")
        with reading(self.engine) as connection:
            counted, cost_nusd = connection.execute(query).one()
        return int(counted), int(cost_nusd)

    def _by_model(self) -> Counter[str]:
        query = select(rollups.c.model, func.sum(rollups.c.calls)).group_by(rollups.c.model)
        with reading(self.engine) as connection:
            return Counter({model[:100]: int(count) for model, count in connection.execute(query) if count})

    def _latencies(self) -> int:
        query = select(func.coalesce(func.sum(latency_totals.c.calls), 0))
        with reading(self.engine) as connection:
            return int(connection.scalar(query.where(latency_totals.c.measure == "latency_ms")) or 0)


def make_entry(worker: str, random: Random | None = None, **values: Any) -> Entry:
    random = random or Random(1)
    said: dict[str, Any] = {
        "model": f"model-{random.randrange(4)}",
        "deployment": f"deployment-{random.randrange(3)}",
        "provider": "openai",
        "user": f"user-{random.randrange(20)}",
        "feature": random.choice(["search", "chat", None]),
        "tags": {"team": "red"},
        "tenant": "default",
        "candidates": ["deployment-0", "deployment-1"],
    }
    return Entry(worker=worker, endpoint="chat.completions", **(said | values))


def make_label(call_id: str = "call-1", **values: Any) -> Label:
    said: dict[str, Any] = {
        "id": call_id,
        "at": 1_700_000_000_000,
        "tenant": "default",
        "partition": "0f" * 16,
        "similarity": 0.97,
        "probability": 0.93,
        "same": True,
        "source": "exact",
        "propensity": 1.0,
        "share": 0.05,
        "source_call_id": "call-0",
        "model": "model-1",
        "verifier": "default-1",
    }
    return Label(**(said | values))


def make_attempt(entry: Entry, number: int = 1) -> Attempt:
    attempt = Attempt(
        call_id=entry.id,
        number=number,
        worker=entry.worker,
        deployment=entry.deployment or "",
        provider=entry.provider or "",
        model=entry.model or "",
        started_at=entry.started_at,
        reserved_nusd=1_000_000,
    )
    entry.tries.append(attempt)
    return attempt


def finish(entry: Entry, attempt: Attempt, random: Random | None = None) -> None:
    random = random or Random(1)
    entry.state, entry.status, entry.attempts = "settled", "ok", len(entry.tries)
    entry.prompt_tokens, entry.completion_tokens = random.randrange(5_000), random.randrange(900)
    entry.usage, entry.usage_source = {"prompt_tokens": entry.prompt_tokens}, "provider"
    entry.cost_nusd = random.randrange(10**9)
    entry.ttft_ms, entry.latency_ms, entry.overhead_ms = 120.5, random.uniform(200, 2_000), 0.4
    attempt.state, attempt.cost_nusd, attempt.latency_ms = "settled", entry.cost_nusd, entry.latency_ms


def call_values(entry: Entry) -> tuple[Any, ...]:
    return tuple(getattr(entry, name) for name in CALL_COLUMNS)


def attempt_values(attempt: Attempt) -> tuple[Any, ...]:
    return tuple(getattr(attempt, name) for name in ATTEMPT_COLUMNS)

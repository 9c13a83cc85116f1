"""Where the numbers come from: the database, read-only and within a time limit, and the folder beside it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from backend.environment import Environment
from db.bounded import Connection, Database, ReadTooSlow, open_database

__all__ = ["Ledger", "ReadTooSlow", "open_ledger"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every report reads from; safe to share between sessions."""

    database: Database
    data_dir: Path

    def read(self) -> AbstractContextManager[Connection]:
        """One consistent snapshot for one report. Raises ``ReadTooSlow``."""
        return self.database.read()


def open_ledger(environment: Environment | None = None, timeout_ms: int = 10_000) -> Ledger:
    """The ledger that this environment points at; statements end after ``timeout_ms``."""
    environment = environment or Environment()
    return Ledger(open_database(environment.database, timeout_ms), environment.data_dir)

"""What the console stands on: the environment it was started in and the ledger it reads, opened once per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.environment import Environment, read_environment
from backend.reports.ledger import Ledger, open_ledger


@dataclass(frozen=True, slots=True)
class Console:
    """Shared by every session of one console process."""

    environment: Environment
    ledger: Ledger

    @property
    def engine(self) -> Any:
        """The database that ``backend.actions`` writes to."""
        return self.ledger.database.engine

    @property
    def gateway_url(self) -> str:
        """Where the gateway of this machine listens, without ``/v1``."""
        host = self.environment.gateway_host
        return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{self.environment.gateway_port}"  # noqa: S104 - compared, never bound

    @property
    def password(self) -> str | None:
        """The console's password; None when there is none."""
        secret = self.environment.console_password
        return secret.get_secret_value() if secret else None


def open_console() -> Console:
    """The console of this environment. Raises ``ValueError`` naming the variable that is wrong."""
    environment = read_environment()
    return Console(environment, open_ledger(environment))

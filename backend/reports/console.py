"""What the console stands on: the environment it was started in and the ledger it reads, opened once per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.auth.ring import console_credential
from backend.environment import Environment, read_environment
from backend.reports.ledger import Ledger, open_ledger
from db.schema import SchemaOutdated, check, upgrade


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
    def control_credential(self) -> str:
        """What the control endpoints of this installation's gateway know the console by; good for no call."""
        return console_credential(self.environment.key_secret())


def open_console() -> Console:
    """The console of this environment, its database brought up to date.

    Raises ``ValueError`` naming the variable that is wrong, ``SchemaTooNew``, ``DatabaseAway``.
    """
    environment = read_environment()
    ledger = open_ledger(environment)
    try:
        check(ledger.database.engine)
    except SchemaOutdated:
        upgrade(ledger.database.engine)
    return Console(environment, ledger)


@dataclass(frozen=True, slots=True)
class ConsoleAccess:
    """What the console's own login needs."""

    password: str | None
    secret: bytes


def read_access() -> ConsoleAccess:
    """The console's password, if any, and the installation's secret. Raises ``ValueError`` on a bad environment."""
    environment = read_environment()
    password = environment.console_password
    return ConsoleAccess(password.get_secret_value() if password else None, environment.key_secret())

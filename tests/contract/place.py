"""Where the contract is kept: the gateway under test, what lies behind it, and words to ask with."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import text

from db.engine import Engine, connect
from tests.contract.speakers import Outcome
from tests.faults.processes import UpstreamProcess
from tests.faults.rig import Rig

POLL_S = 0.02


class ContractUpstream(UpstreamProcess):
    """The scripted upstream with the behaviours of the contract."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.command[self.command.index("tests.faults.upstream")] = "tests.contract.upstream"


class Place:
    """Where a contract is kept: the gateway's address, the upstream's, and the ledger behind them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.port = rig.gateway.port
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.engine: Engine = connect(f"sqlite:///{rig.gateway.data_dir / 'governor.db'}")

    def row(self, call_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The closed ledger row of a call, as soon as it is there."""
        return self.rows(call_id, timeout_s=timeout_s)[0]

    def rows(self, *call_ids: str, column: str = "id", timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """The closed rows of these calls; raises TimeoutError when one of them does not come."""
        ends_at = time.monotonic() + timeout_s
        wanted = ", ".join(f"'{call_id}'" for call_id in call_ids)
        query = text(f"SELECT * FROM calls WHERE {column} IN ({wanted}) AND state <> 'open'")
        while time.monotonic() < ends_at:
            with self.engine.connect() as connection:
                found = [dict(row) for row in connection.execute(query).mappings()]
            if len(found) >= len(call_ids):
                return found
            time.sleep(POLL_S)
        raise TimeoutError(f"{len(found)} of {len(call_ids)} rows came")


def say(words: str = "hello") -> list[dict[str, str]]:
    """Messages that nobody said before: no cache and no flight knows them."""
    return [{"role": "user", "content": f"{words} {uuid.uuid4()}"}]


def chat(model: str = "fake/ok", **params: Any) -> dict[str, Any]:
    """Parameters of a chat."""
    return {"model": model, "messages": say()} | params


def assert_sound(outcome: Outcome) -> None:
    """No error, and an answer."""
    assert outcome.error is None, outcome.error
    assert outcome.value is not None or outcome.chunks

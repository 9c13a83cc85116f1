"""Jobs for tests: a database, a file, a batch of it, and a clock that is set by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from backend.batch.desk import Desk, JobRow
from backend.batch.files import Files
from backend.batch.form import Form
from backend.batch.jobs import Jobs
from backend.batch.lines import Rules
from backend.batch.wire import now_ms
from backend.call import Identity
from db.engine import Engine

OWNER = Identity("tenant", "key-1")
CHAT = "/v1/chat/completions"
RULES = Rules(CHAT, 1000)


def request(number: int = 0, **changes: Any) -> dict[str, Any]:
    """One line of an input file."""
    body = {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}
    return {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body} | changes


def jsonl(*requests: Any) -> bytes:
    """Lines as a file has them; bytes are taken as they are."""
    return b"".join((each if isinstance(each, bytes) else orjson.dumps(each)) + b"\n" for each in requests)


@dataclass
class Clock:
    """Epoch milliseconds that stand still until they are moved."""

    at: int = field(default_factory=now_ms)

    def __call__(self) -> int:
        return self.at


@dataclass
class Office:
    """Files and batches of a database, and desks of workers before it."""

    engine: Engine
    clock: Clock = field(default_factory=Clock)

    @property
    def files(self) -> Files:
        return Files(self.engine)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.engine)

    def desk(self, worker: str = "a") -> Desk:
        """The jobs as one worker sees them."""
        return Desk(self.engine, worker, self.clock)

    def upload(self, content: bytes, owner: Identity = OWNER) -> str:
        """The id of a new file."""
        return str(self.files.keep(owner, Form({"purpose": "batch"}, "in.jsonl", content), 30.0)["id"])

    def create(self, content: bytes, owner: Identity = OWNER, **asked: Any) -> str:
        """The id of a new batch."""
        document = {"input_file_id": self.upload(content, owner), "endpoint": CHAT, "completion_window": "24h"}
        return str(self.jobs.create(owner, document | asked, {})["id"])

    def claim(self, worker: str = "a") -> JobRow:
        """The job a worker gets; fails where there is none."""
        job = self.desk(worker).claim()
        assert job is not None
        return job

    def shown(self, job_id: str, owner: Identity = OWNER) -> dict[str, Any]:
        """The batch as its owner sees it."""
        return self.jobs.retrieve(owner, job_id)

    def results(self, file_id: str | None, owner: Identity = OWNER) -> list[dict[str, Any]]:
        """Lines of a result file; none where there is no file."""
        return [] if file_id is None else [orjson.loads(line) for line in self.read(file_id, owner).splitlines()]

    def read(self, file_id: str, owner: Identity = OWNER) -> bytes:
        """All that is in a file."""
        content = self.files.open(owner, file_id)
        parts: list[bytes] = []
        while (part := content.read(len(parts))) is not None:
            parts.append(part)
        return b"".join(parts)

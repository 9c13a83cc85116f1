"""A data folder full of cache outcomes, and a gateway's control endpoints with canned answers."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial
from db.cache_labels import add_labels, row_of
from db.engine import Engine, connect, writing
from tests.pages.conftest import build_ledger
from tests.reports.cache_samples import make_hit, make_label, make_row
from tests.reports.ledgers import write_calls

PATH = "pages/tune/cache.py"
ON = {"cache": {"semantic_enabled": True}}
NEAR: dict[str, Any] = {"cache_probability": 0.995, "similarity": 0.95, "source_call_id": "call-00000"}


class Filled:
    """A data folder with look-ups, hits and labels of the last hours."""

    def __init__(self, folder: Path, *, labels: int = 0) -> None:
        self.folder = build_ledger(folder, 0)
        self.engine: Engine = connect(f"sqlite:///{folder / 'governor.db'}")
        now = int(time.time() * 1000)
        rows = [make_row(number, cache_probability=0.9, similarity=0.93) for number in range(40)]
        rows += [make_hit(number, "exact") for number in range(40, 60)]
        rows += [make_hit(number, "semantic", **NEAR) for number in range(60, 75)]
        for row in rows:
            row["started_at"] = now - 7_200_000 + int(row["id"][-5:]) * 1_000
        write_calls(self.engine, rows)
        made = [make_label(f"label-{number}", at=now - 9_000, probability=0.99, share=1.0) for number in range(labels)]
        with writing(self.engine) as connection:
            add_labels(connection, [row_of(label, label.at) for label in made])

    def switch_on(self) -> None:
        apply_partial(self.engine, Change(ON, Signature("ana", "try it")))


STATUS = {
    "exact": {"enabled": True, "store": "file of this machine", "entries": 3, "dropped": 0, "breaker": None},
    "semantic": {
        "enabled": True,
        "state": "semantic cache: ready",
        "mode": "embedded",
        "embedder": "minilm-int8",
        "entries": 12,
        "loaded": True,
        "damaged": 2,
        "dropped": 0,
        "decision": None,
        "partitions": [],
    },
}
NEAREST = {
    "call_id": "call-1",
    "question": "How do I leave?",
    "similarity": 0.97,
    "probability": 0.0,
    "gate": {"agrees": False, "findings": ["numbers differ: 3 / 4"]},
    "stored_at": 1,
    "expires_at": 2,
    "would_serve": False,
}
FOUND = {
    "exact": None,
    "exact_reason": "no live entry",
    "partition": "0f" * 16,
    "decision": {
        "state": "serving",
        "threshold": 0.98,
        "reason": "9 labels",
        "labels": 9,
        "bound": 0.1,
        "scope": "pooled",
    },
    "nearest": [
        NEAREST,
        {**NEAREST, "probability": 0.99, "gate": {"agrees": True, "findings": []}, "would_serve": True},
    ],
}
TOP = {
    "call_id": "call-1",
    "tenant": "local",
    "model": "m",
    "hits": 4,
    "stored_at": 1,
    "expires_at": 2,
    "cost_nusd": 1_000_000_000,
    "question": "How do I leave?",
}


class FakeControl(ThreadingHTTPServer):
    """The control endpoints of a gateway, with canned answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, Any, str]] = []
        self.replies: dict[str, Any] = {
            "/control/cache": STATUS,
            "/control/cache/lookup": FOUND,
            "/control/cache/top": {"entries": [TOP]},
            "/control/cache/purge": {"exact": 3, "semantic": 12, "dry_run": True},
        }


class _Answers(BaseHTTPRequestHandler):
    server: FakeControl

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: Any) -> None:
        self.server.asked.append((self.path, body, self.headers["authorization"]))
        reply = self.server.replies[self.path]
        data = json.dumps(reply).encode()
        self.send_response(400 if "error" in reply else 200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass

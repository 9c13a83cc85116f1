"""What callers and models write is shown as text: nothing of it runs, nothing of it fetches, strangers get nothing."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy import insert

from backend.actions import KeyDraft, Signature, create_key
from backend.batch.desk import Ended, LineEnd
from backend.batch.form import Form
from backend.settings.store import Change, current, save
from db.engine import writing
from db.tables import calls, payloads
from tests.batch.jobs import OWNER, RULES, Office, jsonl, request
from tests.browser.conftest import Open, Start, open_engine
from tests.fabricate import fill_rollups
from tests.fabricated_calls import fabricate_call
from tests.pages.test_every_page import PAGES

pytestmark = pytest.mark.browser

RUN = "window.canary=1;alert(1)"
VECTORS = [
    f"<script>{RUN}</script>",
    f"<img src=x onerror='{RUN}'>",
    f"<svg onload='{RUN}'>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"[x](javascript:{RUN})",
    f"![x](http://outside.example/{{}}.png 'onerror={RUN}')",
    "![x](http://outside.example/{}.png)",
    "<img src=http://outside.example/{}.png>",
    "<link rel=stylesheet href=http://outside.example/{}.css>",
    "<style>@import 'http://outside.example/{}.css'</style>",
    f"</code></pre><script>{RUN}</script>",
    f'"><script>{RUN}</script>',
    f"'-({RUN})-'",
    f"${{{RUN}}}",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"<b onmouseover='{RUN}'>hover</b>",
    f"<details open ontoggle='{RUN}'>",
    f"<math><mtext><img src=x onerror='{RUN}'></mtext></math>",
    ":material/home: :red[x] $$x^2$$ **bold** `code`\n# Heading",
]
WRAPS = ["{}", "a {} b", "{}{}", "\n{}", "<b>{}</b>", '{{"k": "{}"}}', "```\n{}\n```", "> {}", "| {} |", "- {}"]
HOSTILE = [
    wrap.replace("{}", vector).replace("{{", "{").replace("}}", "}")
    for vector, wrap in itertools.product(VECTORS, WRAPS)
]


def test_there_are_two_hundred_hostile_strings() -> None:
    assert len(set(HOSTILE)) == 200


def write_hostile(folder: Path) -> str:
    """A ledger in which every text that a caller can write is hostile; the id of a call with captured bodies."""
    engine = open_engine(folder)
    by = Signature(HOSTILE[0], HOSTILE[10])
    document = current(engine).settings.model_dump(mode="json")
    document["routing"]["models"] = [{"model": HOSTILE[1], "deployments": [], "fallbacks": []}]
    save(engine, Change(document, by))
    key = create_key(engine, b"s" * 32, KeyDraft(HOSTILE[11], attribution={"user": HOSTILE[20]}), by)
    rows = list(_rows(key.id))
    with writing(engine) as connection:
        connection.execute(insert(calls), rows)
        connection.execute(
            insert(payloads), [_bodies(row["id"], text) for row, text in zip(rows, HOSTILE, strict=True)]
        )
    fill_rollups(engine)
    engine.dispose()
    return str(rows[-1]["id"])


def _rows(key_id: str) -> Any:
    chance, now = random.Random(3), int(time.time() * 1000)
    names = ("model", "deployment", "provider", "user", "feature", "department", "environment", "rule", "route_reason")
    for number, text in enumerate(HOSTILE):
        row = fabricate_call(chance) | dict.fromkeys(names, text) | {"key_id": key_id}
        notes = orjson.dumps([text]).decode()
        own = {"tags": orjson.dumps({text: text}).decode(), "notes": notes, "finish_reason": text, "error_code": text}
        yield row | own | {"id": f"{number:036d}", "started_at": now - number * 1000, "session_id": text}


def write_hostile_job(folder: Path) -> str:
    """A batch job whose file, metadata, lines and answers are hostile; its id."""
    office = Office(open_engine(folder))
    lines = jsonl(*(request(number, custom_id=text) for number, text in enumerate(HOSTILE)))
    input_id = office.files.keep(OWNER, Form({"purpose": "batch"}, HOSTILE[30], lines), 1.0)["id"]
    metadata = {name: name for name in HOSTILE[::20] if len(name) <= 64}
    office.create(lines, input_file_id=input_id, metadata=metadata)
    desk = office.desk()
    job = desk.prepare(office.claim(), RULES)
    job, begun = desk.exchange(job, Ended(), len(HOSTILE))
    answers = [orjson.dumps({"error": {"message": text, "code": text}}) for text in HOSTILE]
    ends = [
        LineEnd(line.number, "failed", line.custom_id, 400, said) for line, said in zip(begun, answers, strict=True)
    ]
    job, _ = desk.exchange(job, Ended(ends), 0)
    return desk.finish(desk.finalize(job), 1.0).id


def _bodies(call_id: str, text: str) -> dict[str, Any]:
    request = orjson.dumps({"messages": [{"role": text, "content": text}]})
    response = orjson.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})
    return {"call_id": call_id, "request": request, "response": response, "truncated": False, "captured_at": 0}


def test_nothing_that_callers_or_models_write_runs_or_fetches(start: Start, visit: Open, tmp_path: Path) -> None:
    call_id, job_id = write_hostile(tmp_path / "data"), write_hostile_job(tmp_path / "data")
    console = start()
    visitor = visit(console.url)
    for title in PAGES.values():
        visitor.open_page(title)
        visitor.page.mouse.move(700, 400)
    for group in ("user", "feature", "key_id"):
        visitor.go(f"{console.url}/?group={group}")
        visitor.go(f"{console.url}/spend?group={group}")
    visitor.go(f"{console.url}/calls?call={call_id}&user={HOSTILE[5]}")
    for tab in ("Decisions", "Timing", "Cost", "Raw", "Messages"):
        visitor.page.get_by_role("dialog").get_by_role("tab", name=tab).click()
        visitor.settle()
    assert HOSTILE[-1].splitlines()[0] in visitor.page.get_by_role("dialog").inner_text()
    for place in range(0, 200, 23):
        visitor.go(f"{console.url}/calls?call={place:036d}")
    visitor.go(f"{console.url}/batches?job={job_id}")
    assert HOSTILE[30] in visitor.page.get_by_role("dialog").inner_text()
    visitor.page.get_by_role("dialog").get_by_text("Times and metadata").click()
    visitor.settle()
    visitor.go(f"{console.url}/changes?version=1")
    assert visitor.alarms == []
    assert visitor.hosts == {f"127.0.0.1:{console.port}"}
    assert visitor.page.evaluate("() => window.canary") is None


def open_socket(url: str, **headers: str) -> int:
    """The status of a WebSocket handshake."""
    wanted = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    with (
        httpx2.Client(trust_env=False) as client,
        client.stream("GET", f"{url}/_stcore/stream", headers=wanted, timeout=20) as response,
    ):
        return response.status_code


def test_a_socket_from_another_site_or_under_another_name_is_refused(start: Start) -> None:
    url = start().url
    assert open_socket(url, origin=url) == 101
    assert open_socket(url, origin="https://evil.example") == 403
    assert open_socket(url, host="evil.example", origin="http://evil.example") == 403


@pytest.mark.parametrize("path", ["/", "/calls", "/_stcore/stream", "/_stcore/host-config", "/_stcore/metrics"])
def test_without_the_password_nothing_answers_but_the_login(start: Start, path: str) -> None:
    console = start(GOVERNOR_CONSOLE_PASSWORD="correct horse")
    with httpx2.Client(trust_env=False) as client:
        reply = client.get(f"{console.url}{path}", headers={"accept": "text/html"})
        assert (reply.status_code, reply.headers["location"].partition("?")[0]) == (303, "/login")
        assert client.get(f"{console.url}{path}", headers={"accept": "*/*"}).status_code == 401
        assert client.get(f"{console.url}/_stcore/health").status_code == 200
    assert open_socket(console.url, origin=console.url) == 403

"""The routes of files and batches: who may, what may be sent, how errors look."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
import pytest
from sqlalchemy.exc import OperationalError

from backend.batch.files import FileContent, Files
from backend.batch.jobs import Jobs
from backend.call import Identity
from backend.errors import Unauthenticated
from backend.gateway.batch_api import BatchApi
from backend.gateway.control import Control
from backend.gateway.http import Application
from backend.gateway.views import Views
from db import files as rows
from db.engine import Engine
from tests.batch.jobs import CHAT, jsonl, request
from tests.fakes import Scene, scene, settings, whole
from tests.gateway.asgi import Visit, visit

KIND = {b"content-type": b"multipart/form-data; boundary=xyz"}


def form(content: bytes, purpose: str = "batch") -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n%b\r\n' % purpose.encode()
    file = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
    return head + file + content + b"\r\n--xyz--\r\n"


class Counter:
    """The application over a database, and how often somebody was woken."""

    def __init__(self, engine: Engine) -> None:
        self.scene: Scene = scene([whole()], document=settings(gateway={"max_body_mb": 0.01}))
        self.woken = 0
        api = BatchApi(self.scene.gateway, Files(engine), Jobs(engine), self._wake)
        self.application = Application(self.scene.gateway, Views(self.scene.gateway, cast("Control", None), api))

    async def ask(self, method: str, path: str, body: bytes = b"", **scope: Any) -> Visit:
        target, _, query = path.partition("?")
        visitor = Visit(*([body] if method in ("POST", "PUT") else []), headers=scope.get("headers"))
        asked = {"type": "http", "path": target, "method": method, "query_string": query.encode()}
        asked["headers"] = list(visitor.headers.items())
        await self.application(asked, visitor.receive, visitor.send)
        return visitor

    async def upload(self, content: bytes = b"") -> str:
        sent = await self.ask("POST", "/v1/files", form(content or jsonl(request())), headers=KIND)
        return str(sent.json["id"])

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def desk(sqlite: Engine) -> Counter:
    return Counter(sqlite)


async def test_a_file_may_be_larger_than_a_call(desk: Counter) -> None:
    content = jsonl(*map(request, range(200)))
    assert len(content) > 10_000
    file_id = await desk.upload(content)
    got = await desk.ask("GET", f"/v1/files/{file_id}/content")
    assert (got.body, got.sent_headers["content-type"]) == (content, "application/octet-stream")
    assert got.sent_headers["x-content-type-options"] == "nosniff"


async def test_a_batch_is_made_seen_and_cancelled_with_and_without_v1(desk: Counter) -> None:
    file_id = await desk.upload()
    asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    made = await desk.ask("POST", "/v1/batches", orjson.dumps(asked))
    assert (made.status, made.json["status"], desk.woken) == (200, "validating", 2)
    for path in ("/v1/batches", "/batches"):
        assert (await desk.ask("GET", f"{path}/{made.json['id']}")).json == made.json
        assert (await desk.ask("GET", f"{path}?limit=1&x=y")).json["data"] == [made.json]
    cancelled = await desk.ask("POST", f"/v1/batches/{made.json['id']}/cancel")
    assert (cancelled.json["status"], desk.woken) == ("cancelling", 3)
    assert (await desk.ask("DELETE", f"/v1/files/{file_id}")).json["deleted"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/files", b"", 405),
        ("DELETE", "/v1/batches", b"", 405),
        ("POST", "/v1/files/file-1", b"", 405),
        ("GET", "/v1/batches/batch_1/cancel", b"", 405),
        ("GET", "/v1/files/file-1/cancel", b"", 404),
        ("GET", "/v1/batches/batch_1/content", b"", 404),
        ("GET", "/v1/files/file-1", b"", 404),
        ("DELETE", "/v1/files/file-1", b"", 404),
        ("GET", "/v1/batches/batch_1", b"", 404),
        ("GET", "/v1/files/a/b/c", b"", 404),
        ("POST", "/v1/batches", b"nonsense", 400),
        ("POST", "/v1/batches", b"[1]", 400),
        ("POST", "/v1/batches", b"{}", 400),
        ("GET", "/v1/files?limit=-1", b"", 400),
        ("POST", "/v1/files", b"x", 400),
        ("POST", "/v1/batches", b"{" + b" " * 20_000 + b"}", 413),
    ],
)
async def test_what_cannot_be_is_told_in_openais_shape(
    desk: Counter, method: str, path: str, body: bytes, status: int
) -> None:
    told = await desk.ask(method, path, body)
    assert (told.status, set(told.json["error"])) == (status, {"message", "type", "param", "code"})


async def test_a_file_above_the_limit_is_refused(desk: Counter) -> None:
    desk.scene.use(settings(batch={"max_file_mb": 0.001}))
    assert (await desk.ask("POST", "/v1/files", form(b"x" * 1001), headers=KIND)).status == 413
    assert (await desk.ask("POST", "/v1/files", form(b"x" * 100_000), headers=KIND)).status == 413
    assert (await desk.ask("POST", "/v1/files", form(b"x" * 1000), headers=KIND)).status == 200


async def test_a_tenants_files_have_a_limit(desk: Counter) -> None:
    desk.scene.use(settings(batch={"max_tenant_mb": 0.001}))
    assert (await desk.ask("POST", "/v1/files", form(b"x" * 600), headers=KIND)).status == 200
    refused = await desk.ask("POST", "/v1/files", form(b"x" * 600), headers=KIND)
    assert (refused.status, refused.json["error"]["code"]) == (413, "body_too_large")


async def test_more_uploads_at_once_than_allowed_are_told_to_come_again(desk: Counter) -> None:
    desk.scene.use(settings(batch={"max_uploads": 1}))
    slow = Visit(headers=KIND)
    scope = {"type": "http", "path": "/v1/files", "method": "POST", "query_string": b"", "headers": [*KIND.items()]}
    first = asyncio.create_task(desk.application(scope, slow.receive, slow.send))
    await asyncio.sleep(0)
    refused = await desk.ask("POST", "/v1/files", form(b"x"), headers=KIND)
    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
    slow.left.set()
    await first
    assert (await desk.ask("POST", "/v1/files", form(b"x"), headers=KIND)).status == 200


async def test_a_file_goes_out_part_by_part(desk: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PART_BYTES", 100)
    content = jsonl(*map(request, range(20)))
    file_id = await desk.upload(content)
    got = await desk.ask("GET", f"/v1/files/{file_id}/content")
    assert (got.body, got.sent_headers["content-length"]) == (content, str(len(content)))
    assert max(len(message["body"]) for message in got.messages[1:]) == 100


async def test_a_file_that_breaks_off_is_left_without_its_end(desk: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = await desk.upload()

    def fail(*_: Any) -> None:
        raise OperationalError("read", None, Exception("gone"))

    monkeypatch.setattr(FileContent, "read", fail)
    got = await desk.ask("GET", f"/v1/files/{file_id}/content")
    assert [message["type"] for message in got.messages] == ["http.response.start"]


async def test_a_stranger_is_turned_away_before_the_body_is_read(desk: Counter) -> None:
    desk.scene.keys.refusal = Unauthenticated("no")
    visitor = Visit(form(b"x"), headers=KIND)
    await visit(desk.application, visitor, "/v1/files")
    assert (visitor.status, len(visitor.pieces)) == (401, 1)


async def test_a_key_that_may_not_call_may_not_upload_or_look(desk: Counter) -> None:
    desk.scene.keys.identity = Identity("tenant", "key-1", scopes=frozenset({"read"}))
    assert (await desk.ask("POST", "/v1/files", form(b"x"), headers=KIND)).status == 403
    assert (await desk.ask("GET", "/v1/batches")).status == 403


async def test_a_page_of_another_site_may_not_upload_while_there_are_no_keys(desk: Counter) -> None:
    desk.scene.keys.identity = Identity("local")
    foreign = KIND | {b"origin": b"https://evil.example", b"host": b"localhost"}
    assert (await desk.ask("POST", "/v1/files", form(b"x"), headers=foreign)).status == 403
    own = KIND | {b"host": b"127.0.0.1:4000"}
    assert (await desk.ask("POST", "/v1/files", form(b"x"), headers=own)).status == 200

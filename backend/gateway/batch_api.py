"""OpenAI's routes of files and batches; what is done there is done by ``backend.batch``, in threads."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from backend.auth.attribution import keep_labels
from backend.batch.files import FileContent, Files
from backend.batch.form import read_form
from backend.batch.jobs import Jobs
from backend.batch.wire import read_query
from backend.call import Identity
from backend.errors import (
    BadRequest,
    BodyTooLarge,
    DatabaseUnavailable,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    RateLimited,
)
from backend.gateway.gateway import refuse_foreign_page
from db.engine import DatabaseError

if TYPE_CHECKING:
    from backend.gateway.gateway import Gateway
    from backend.settings.knobs import GatewaySettings

_PATH = re.compile(r"(?:/v1)?/(files|batches)(?:/([A-Za-z0-9_-]{1,128})(?:/(content|cancel))?)?")
log = logging.getLogger("governor.batch")

_FORM_BYTES = 64 * 1024
"""What a form may have besides the file."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A request as it came in; header names are lower-case."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose sender is known, and the id in its path."""

    owner: Identity
    request: BatchRequest
    object_id: str


Act = Callable[["BatchApi", _Asked], dict[str, Any] | FileContent]


@dataclass(frozen=True, slots=True)
class BatchApi:
    """Answers the routes; ``wake`` is told when there may be work."""

    gateway: Gateway
    files: Files
    jobs: Jobs
    wake: Callable[[], None] = lambda: None
    uploading: set[object] = field(default_factory=set)
    """A mark for every file that comes in now."""

    @staticmethod
    def knows(path: str) -> bool:
        """Whether a path is one of these routes."""
        return _PATH.fullmatch(path) is not None

    @contextmanager
    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Iterator[GatewaySettings]:
        """How large and slow a body may be while it is taken in; an upload's sender and number are checked first.

        Raises ``GatewayError``.
        """
        settings = self.gateway.settings.current.settings
        if method != "POST" or path.removeprefix("/v1") != "/files":
            yield settings.gateway
            return
        self._identify(headers)
        if len(self.uploading) >= settings.batch.max_uploads:
            raise RateLimited("Too many files are uploaded at the same time; try again.", retry_after_ms=1000)
        most_mb = settings.batch.max_file_mb + _FORM_BYTES / 1_000_000
        wider = {"max_body_mb": most_mb, "body_timeout_s": settings.batch.upload_timeout_s}
        mark = object()
        self.uploading.add(mark)
        try:
            yield settings.gateway.model_copy(update=wider)
        finally:
            self.uploading.discard(mark)

    async def answer(self, request: BatchRequest) -> dict[str, Any] | FileContent:
        """An object, or a file to be read; raises ``GatewayError``."""
        owner = self._identify(request.headers)
        act, object_id = _find_act(request)
        try:
            found = await asyncio.to_thread(act, self, _Asked(owner, request, object_id))
        except DatabaseError:
            raise DatabaseUnavailable("The database does not answer; nothing is known to have changed.") from None
        if request.method == "POST":
            self.wake()
        return found

    def _identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        identity = self.gateway.keys.identify(headers)
        if identity.key_id is None:
            refuse_foreign_page(headers)
        if "call" not in identity.scopes:
            raise Forbidden("This key does not have the scope call.")
        return identity


def _upload(api: BatchApi, asked: _Asked) -> dict[str, Any]:
    knobs = api.gateway.settings.current.settings.batch
    form = read_form(asked.request.headers.get(b"content-type", b""), asked.request.body)
    if form.content is not None and len(form.content) > knobs.max_file_mb * 1_000_000:
        raise BodyTooLarge(f"The file is larger than {knobs.max_file_mb:g} MB.", param="file")
    return api.files.keep(asked.owner, form, knobs.keep_days, knobs.max_tenant_mb * 1_000_000)


def _create(api: BatchApi, asked: _Asked) -> dict[str, Any]:
    try:
        document = orjson.loads(asked.request.body)
    except ValueError:
        raise BadRequest("The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return api.jobs.create(asked.owner, document, keep_labels(asked.request.headers))


_ACTS: dict[tuple[str, str, str], Act] = {
    ("POST", "files", ""): _upload,
    ("GET", "files", ""): lambda api, asked: api.files.list(asked.owner, read_query(asked.request.query)),
    ("GET", "files", "id"): lambda api, asked: api.files.retrieve(asked.owner, asked.object_id),
    ("DELETE", "files", "id"): lambda api, asked: api.files.delete(asked.owner, asked.object_id),
    ("GET", "files", "content"): lambda api, asked: api.files.open(asked.owner, asked.object_id),
    ("POST", "batches", ""): _create,
    ("GET", "batches", ""): lambda api, asked: api.jobs.list(asked.owner, read_query(asked.request.query)),
    ("GET", "batches", "id"): lambda api, asked: api.jobs.retrieve(asked.owner, asked.object_id),
    ("POST", "batches", "cancel"): lambda api, asked: api.jobs.cancel(asked.owner, asked.object_id),
}


async def read_file(content: FileContent) -> AsyncGenerator[bytes]:
    """A file part by part; ends early, and says so in the log, where the database falls away or the file is deleted."""
    number = 0
    try:
        while (part := await asyncio.to_thread(content.read, number)) is not None:
            yield part
            number += 1
    except DatabaseError as error:
        log.warning("file %s breaks off: %s", content.row.id, type(error).__name__)


def _find_act(request: BatchRequest) -> tuple[Act, str]:
    found = _PATH.fullmatch(request.path)
    if found is None:
        raise NotFound("There is no such route.")
    noun, object_id, verb = found[1], found[2] or "", found[3]
    place = verb or ("id" if object_id else "")
    act = _ACTS.get((request.method, noun, place))
    if act is not None:
        return act, object_id
    methods = [method for method, *rest in _ACTS if rest == [noun, place]]
    if not methods:
        raise NotFound("There is no such route.")
    raise MethodNotAllowed(f"Use {' or '.join(methods)}.")

"""Request bodies: gathered whole, bounded in size and time, and never larger inside than outside is allowed."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from backend.deadlines import Deadlines
from backend.errors import BodyTooLarge, GatewayError, UnsupportedEncoding
from backend.gateway.bodies import read_body
from backend.settings.knobs import GatewaySettings
from tests.gateway.asgi import Visit

SMALL = GatewaySettings(max_body_mb=0.001, body_timeout_s=0.02)
ROOMY = GatewaySettings(max_body_mb=1)


async def read(*pieces: bytes, knobs: GatewaySettings = ROOMY, **headers: str) -> tuple[bytes, GatewayError | None]:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return await read_body(Visit(*pieces).receive, named, knobs, Deadlines())


def packed(plain: bytes, kind: str) -> bytes:
    return gzip.compress(plain, mtime=0) if kind == "gzip" else zlib.compress(plain)


async def test_a_body_is_whole_however_it_arrives() -> None:
    assert await read(b'{"a":1}') == (b'{"a":1}', None)
    assert await read(b'{"a', b"", b'":1', b"}") == (b'{"a":1}', None)
    assert await read(b"") == (b"", None)


@pytest.mark.parametrize(
    ("sizes", "refused"), [((1000,), False), ((1001,), True), ((600, 401), True), ((500, 500), False)]
)
async def test_a_body_may_be_as_large_as_the_limit(sizes: tuple[int, ...], refused: bool) -> None:
    body, problem = await read(*(b"x" * size for size in sizes), knobs=SMALL)
    assert isinstance(problem, BodyTooLarge) == refused
    assert len(body) == (0 if refused else sum(sizes))


@pytest.mark.parametrize("length", ["1001", "99999999999999999999999999", "18446744073709551617"])
async def test_a_body_that_says_it_is_too_large_is_not_read(length: str) -> None:
    arriving = Visit(b"x" * 10)
    _, problem = await read_body(arriving.receive, {b"content-length": length.encode()}, SMALL, Deadlines())
    assert isinstance(problem, BodyTooLarge)
    assert problem.status == 413
    assert arriving.pieces


@pytest.mark.parametrize("length", ["-1", "abc", "", "1e3", "\u0663"])
async def test_a_length_that_is_no_number_is_no_reason(length: str) -> None:
    assert await read(b"{}", content_length=length) == (b"{}", None)


async def test_a_body_that_does_not_come_is_given_up() -> None:
    visit = Visit()
    _, problem = await read_body(visit.receive, {}, SMALL, Deadlines())
    assert problem is not None
    assert (problem.status, problem.code) == (408, "body_timeout")


async def test_a_client_that_leaves_in_its_body_is_a_bad_request() -> None:
    visit = Visit()
    asyncio.get_running_loop().call_soon(visit.left.set)
    _, problem = await read_body(visit.receive, {}, ROOMY, Deadlines())
    assert problem is not None
    assert problem.status == 400


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
async def test_compressed_bodies_are_understood(kind: str) -> None:
    plain = b'{"a":"' + b"b" * 5000 + b'"}'
    assert await read(packed(plain, kind), content_encoding=kind.upper()) == (plain, None)
    assert await read(plain, content_encoding="identity") == (plain, None)


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
@pytest.mark.parametrize("ratio", [2, 1000])
async def test_a_bomb_does_not_go_off(kind: str, ratio: int) -> None:
    bomb = packed(b" " * (50_000 * ratio), kind)
    assert len(bomb) < 50_000
    body, problem = await read(bomb, knobs=GatewaySettings(max_body_mb=0.05), content_encoding=kind)
    assert isinstance(problem, BodyTooLarge)
    assert body == b""


async def test_the_largest_body_may_be_compressed() -> None:
    plain = b"x" * 1_000_000
    assert await read(gzip.compress(plain, mtime=0), content_encoding="gzip") == (plain, None)
    _, problem = await read(gzip.compress(plain + b"x", mtime=0), content_encoding="gzip")
    assert problem is not None
    assert problem.status in (400, 413)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\x1f\x8b",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0)[:12],
        gzip.compress(b"{}", mtime=0) + b"more",
        gzip.compress(b"{", mtime=0) + gzip.compress(b"}", mtime=0),
        b"\x00" * 50,
        bytes(range(256)),
    ],
)
async def test_what_is_not_what_its_encoding_says_is_a_bad_request(body: bytes) -> None:
    for kind in ("gzip", "deflate"):
        plain, problem = await read(body, content_encoding=kind)
        assert problem is not None
        assert (problem.status, plain) == (400, b"")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "x" * 500, "\xff"])
async def test_other_encodings_are_refused(encoding: str) -> None:
    _, problem = await read(b"{}", content_encoding=encoding)
    assert isinstance(problem, UnsupportedEncoding)
    assert problem.status == 415

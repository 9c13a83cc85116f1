"""HTTP that no honest client sends: one answer or a closed door, never two readings of where a request ends."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from tests.contract.place import Place, say

BODY = json.dumps({"model": "fake/ok", "messages": say()}).encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)
LINE = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"

# what is sent: statuses that may come back, none meaning that the door is closed without a word
CORPUS: dict[str, tuple[bytes, set[int | None]]] = {
    "sound": (LINE + LENGTH + b"\r\n" + BODY, {200}),
    "chunked": (LINE + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), {200}),
    "length and chunked": (
        LINE + LENGTH + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        {400, None},
    ),
    "chunked and length": (
        LINE + b"transfer-encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + SMUGGLED,
        {400, None},
    ),
    "two lengths": (LINE + LENGTH + b"content-length: 5\r\n\r\n" + BODY, {400, None}),
    "length with a sign": (LINE + b"content-length: +%d\r\n\r\n" % len(BODY) + BODY, {400, None}),
    "length negative": (LINE + b"content-length: -1\r\n\r\n" + BODY, {400, None}),
    "length no number": (LINE + b"content-length: abc\r\n\r\n" + BODY, {400, None}),
    "length beyond everything": (LINE + b"content-length: 99999999999999999999\r\n\r\n", {400, 413, None}),
    "length of 100 MB": (LINE + b"content-length: 104857600\r\n\r\n", {413}),
    "chunk size no number": (LINE + b"transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", {400, None}),
    "chunk size negative": (LINE + b"transfer-encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n", {400, None}),
    "chunk without its end": (LINE + b"transfer-encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n", {400, None}),
    "chunk size beyond everything": (LINE + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n", {400, None}),
    "chunked twice": (LINE + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400, 501, None}),
    "coding unknown": (LINE + b"transfer-encoding: gzip\r\n\r\n" + BODY, {400, 501, None}),
    "coding disguised": (LINE + b"transfer-encoding: xchunked\r\n" + LENGTH + b"\r\n" + BODY, {400, 501, None}),
    "header folded": (LINE + LENGTH + b"x-a: b\r\n c: d\r\n\r\n" + BODY, {200, 400, None}),
    "header name with a space": (LINE + b"content-length : %d\r\n\r\n" % len(BODY) + BODY, {400, None}),
    "header without a name": (LINE + b": x\r\n" + LENGTH + b"\r\n" + BODY, {400, None}),
    "header with NUL": (LINE + b"x-a: a\x00b\r\n" + LENGTH + b"\r\n" + BODY, {400, None}),
    "bare line feeds": ((LINE + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY, {200, 400, None}),
    "bare carriage returns": (LINE.replace(b"\r\n", b"\r") + b"\r\r", {400, None}),
    "method unknown": (b"SMUGGLE /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", {400, 405, None}),
    "method in lower case": (b"post /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", {400, 405, None}),
    "version unknown": (b"GET /v1/models HTTP/9.9\r\nhost: 127.0.0.1\r\n\r\n", {400, 505, None}),
    "no version": (b"GET /v1/models\r\n\r\n", {200, 400, None}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, None}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), {400, None}),
    "nothing but noise": (bytes(range(256)) * 4 + b"\r\n\r\n", {400, None}),
    "path with line noise": (b"GET /\x01\x7f\xff HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", {400, 404, None}),
    "absolute target": (b"GET http://127.0.0.1/v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", {200, 400, 404}),
    "target of another host": (b"GET http://elsewhere/v1/models HTTP/1.1\r\nhost: elsewhere\r\n\r\n", {400, 403, 404}),
    "connect": (b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere:443\r\n\r\n", {400, 403, 404, 405, None}),
    "upgrade": (
        b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        {200, 400, 404, 426},
    ),
    "64 kB of one header": (LINE + b"x-a: " + b"b" * 65536 + b"\r\n" + LENGTH + b"\r\n" + BODY, {200, 400, 431, None}),
    "a thousand headers": (LINE + b"x-a: b\r\n" * 1000 + LENGTH + b"\r\n" + BODY, {200, 400, 431, None}),
    "host missing": (b"GET /v1/models HTTP/1.1\r\n\r\n", {200, 400, 403}),
    "host elsewhere": (b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n\r\n", {403}),
    "origin elsewhere": (b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: http://evil.example\r\n\r\n", {403}),
    "expect": (LINE + LENGTH + b"expect: 100-continue\r\n\r\n" + BODY, {100, 200}),
}  # fmt: skip


def talk(port: int, payload: bytes, timeout_s: float = 1.5) -> bytes:
    """Everything that comes back until the door closes or nothing comes for a while."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as link,
        contextlib.suppress(TimeoutError, ConnectionError),
    ):
        link.sendall(payload)
        while piece := link.recv(65536):
            received += piece
            link.settimeout(0.1 if is_whole(received) else timeout_s)
    return received


def is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line[16:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    return bool(lengths) and len(body) >= int(lengths[0])


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("name", CORPUS)
def test_a_request_has_one_reading(place: Place, name: str) -> None:
    payload, expected = CORPUS[name]
    found = statuses(talk(place.port, payload))
    assert not [status for status in found if status >= 500 and status not in expected], found
    assert (found[0] if found else None) in expected, found
    if SMUGGLED in payload:
        assert len(found) <= 1, "what was hidden in the body was answered"


def test_the_gateway_still_answers_after_all_of_it(place: Place) -> None:
    assert statuses(talk(place.port, CORPUS["sound"][0])) == [200]


def test_requests_on_one_connection_are_answered_in_their_order(place: Place) -> None:
    asks = [LINE + b"content-length: %d\r\n\r\n%b" % (len(body), body) for body in map(ask, range(5))]
    received = b""
    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as link:
        link.sendall(b"".join(asks))
        while received.count(b"HTTP/1.1 200") < 5 or not received.endswith(b"}"):
            received += link.recv(65536)
    positions = [received.index(b"call number %d " % number) for number in range(5)]
    assert positions == sorted(positions)


def ask(number: int) -> bytes:
    return json.dumps({"model": "fake/echo", "messages": say(f"call number {number} ")}).encode()


def test_a_refused_body_does_not_become_the_next_request(place: Place) -> None:
    hidden = SMUGGLED * 2000
    payload = LINE + b"content-length: %d\r\n\r\n" % (3_000_000 + len(hidden)) + b"x" * 1000 + hidden
    assert statuses(talk(place.port, payload)) == [413]


def test_a_body_that_drips_is_given_up(place: Place) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", place.port), timeout=15) as link:
        link.sendall(LINE + LENGTH + b"\r\n")
        link.settimeout(0.3)
        received = b""
        while not is_whole(received) and time.monotonic() - began < 12:
            with contextlib.suppress(TimeoutError):
                received += link.recv(65536)
            if not received:
                link.sendall(b" ")
    assert statuses(received) == [408]
    assert b'"code":"body_timeout"' in received


def test_a_client_that_leaves_in_its_body_is_in_the_books(place: Place) -> None:
    with socket.create_connection(("127.0.0.1", place.port), timeout=5) as link:
        link.sendall(LINE + LENGTH + b"x-session-id: left-in-body\r\n\r\n" + BODY[:10])
    assert statuses(talk(place.port, CORPUS["sound"][0])) == [200]

"""Request bodies: bounded in size, in time and in what decompression may make of them."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from backend.deadlines import Deadlines
from backend.errors import BadRequest, BodyTimeout, BodyTooLarge, GatewayError, UnsupportedEncoding

if TYPE_CHECKING:
    from backend.settings.knobs import GatewaySettings

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], settings: GatewaySettings, deadlines: Deadlines
) -> tuple[bytes, GatewayError | None]:
    """The decompressed body, or why it could not be read: a refusal that belongs on the call's entry."""
    limit = int(settings.max_body_mb * 1_000_000)
    try:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > limit:
            raise _too_large(settings)
        with deadlines.within(settings.body_timeout_s):
            body = await _gather(receive, limit, settings)
        encoding = headers.get(b"content-encoding")
        return (_decompress(body, encoding.lower(), limit) if encoding else body), None
    except TimeoutError:
        return b"", BodyTimeout(f"The body did not arrive within {settings.body_timeout_s:g} seconds.")
    except GatewayError as error:
        return b"", error


async def _gather(receive: Receive, limit: int, settings: GatewaySettings) -> bytes:
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client left before its body was complete.")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(settings)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"deflate"):
        raise UnsupportedEncoding("Content-Encoding must be gzip, deflate or identity.")
    inflate = zlib.decompressobj(wbits=47 if encoding == b"gzip" else 15)
    try:
        plain = inflate.decompress(body, limit)
    except zlib.error:
        raise BadRequest("The body is not what its Content-Encoding says.") from None
    if inflate.unconsumed_tail:
        raise BodyTooLarge("The decompressed body is too large.")
    if not inflate.eof or inflate.unused_data:
        raise BadRequest("The compressed body is incomplete, or something follows it.")
    return plain


def _too_large(settings: GatewaySettings) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {settings.max_body_mb:g} MB.")

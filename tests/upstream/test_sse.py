"""Server-sent events: however the bytes are cut, the events are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.upstream.sse import EventReader

STREAMS = {
    "plain": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "carriage returns": (b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n', [b'{"a":1}', b"[DONE]"]),
    "no space": (b"data:x\n\n", [b"x"]),
    "two spaces": (b"data:  x\n\n", [b" x"]),
    "comments": (b": hello\n\n:\n\n: a\ndata: x\n: b\n\n", [b"x"]),
    "other fields": (b"id: 7\nevent: message\nretry: 5\ndata: x\n\n", [b"x"]),
    "two lines": (b"data: a\ndata: b\n\n", [b"a\nb"]),
    "empty data": (b"data: \n\ndata:\n\n", [b"", b""]),
    "keep-alive as data": (b"data: : keepalive\n\n", [b": keepalive"]),
    "blank lines": (b"\n\n\n\ndata: x\n\n\n\n", [b"x"]),
    "json tail": (b'data: x\n\n{"error": 1}\n', [b"x", b'{"error": 1}']),
    "characters": ('data: {"é":"世界🚀"}\n\n'.encode(), ['{"é":"世界🚀"}'.encode()]),
    "unfinished": (b"data: x\n\ndata: y\n", [b"x"]),
    "unfinished line": (b"data: x\n\ndata: y", [b"x"]),
    "data in text": (b'data: {"a":"data: b\\n\\ndata: [DONE]"}\n\n', [b'{"a":"data: b\\n\\ndata: [DONE]"}']),
}


def read(*pieces: bytes, limit: int = 10_000) -> list[bytes]:
    reader = EventReader(limit)
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("name", STREAMS)
def test_events_are_read_as_providers_send_them(name: str) -> None:
    stream, events = STREAMS[name]
    assert read(stream) == events


@pytest.mark.parametrize("name", STREAMS)
def test_every_cut_in_two_and_every_single_byte_gives_the_same_events(name: str) -> None:
    stream, events = STREAMS[name]
    for position in range(len(stream) + 1):
        assert read(stream[:position], stream[position:]) == events
    assert read(*(bytes([byte]) for byte in stream)) == events


@given(st.lists(st.sampled_from([stream for stream, _ in STREAMS.values()]), max_size=5), st.data())
def test_any_cut_of_any_stream_gives_the_same_events(streams: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(streams)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(*pieces) == read(whole)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_whatever_was_sent_as_data_is_read(texts: list[str]) -> None:
    stream = b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)
    assert read(stream) == [text.encode() for text in texts]


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise(noise: bytes) -> None:
    read(noise)


def test_what_follows_the_last_line_is_kept() -> None:
    reader = EventReader(100)
    assert list(reader.feed(b'data: x\n\n{"error"')) == [b"x"]
    assert list(reader.feed(b":1}")) == []
    assert reader.rest == b'{"error":1}'


def test_an_event_beyond_the_limit_is_refused_before_it_is_whole() -> None:
    assert read(b"data: " + b"x" * 50 + b"\n\n", limit=60)
    with pytest.raises(ValueError, match="too large"):
        read(b"data: " + b"x" * 30, b"x" * 30, b"x" * 30, limit=60)


def test_an_event_of_endless_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        read(*[b"data: xxxxxxxx\n"] * 1000, limit=60)

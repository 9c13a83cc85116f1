"""The spool on disk: names of segments, frames with checksums, and how to read past a damaged one.

A segment is ``GOVSPOOL`` + an 8-byte random mark, then frames: mark, length and CRC-32 of what follows, content.
The mark is new for each segment and never leaves the machine, so no caller can plant a frame inside a body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

SUFFIX = ".spool"
LOCK_SUFFIX = ".lock"
MAGIC = b"GOVSPOOL"
MARK_BYTES = 8
START = len(MAGIC) + MARK_BYTES
"""Position of a segment's first frame."""

DAMAGED = "damaged bytes"
TORN = "unfinished tail"
"""Damage that loses nothing: the writer died in the middle of a record nobody was told about."""

_FRAME = struct.Struct(f"<{MARK_BYTES}sII")
FRAME_BYTES = _FRAME.size


@dataclass(slots=True)
class Frame:
    """One record of a segment, or the bytes of a damaged stretch (``damage`` says what is wrong with it)."""

    segment: str
    start: int
    end: int
    content: bytes
    damage: str | None = None


def segment_name(worker: str, number: int) -> str:
    """File name of a worker's segment; names sort in the order of writing."""
    return f"{worker}.{number:08d}{SUFFIX}"


def worker_of(name: str) -> str:
    """The worker a segment or lock file belongs to."""
    stem = name.removesuffix(LOCK_SUFFIX)
    return stem.rsplit(".", 2)[0] if name.endswith(SUFFIX) else stem


def measure_segments(folder: Path) -> dict[str, int]:
    """Every segment with its size in bytes, each worker's in the order of writing.

    Sizes are taken after the names: a segment that has a successor here is complete.
    """
    names = sorted(name for name in _listed(folder) if name.endswith(SUFFIX))
    return {name: size for name in names if (size := _size(folder / name)) is not None}


def list_workers(folder: Path) -> set[str]:
    """Workers that left a segment or a lock file here."""
    return {worker_of(name) for name in _listed(folder) if name.endswith((SUFFIX, LOCK_SUFFIX))}


def pack(mark: bytes, content: bytes) -> bytes:
    """One frame; the checksum covers the length too."""
    size = len(content)
    return _FRAME.pack(mark, size, crc32(content, size)) + content


def read_mark(data: bytes) -> bytes | None:
    """The segment's mark out of its first bytes; none when they are not a segment's.

    The mark stands twice, before and in the first frame, so that damage to one copy loses nothing.
    """
    first, second = data[len(MAGIC) : START], data[START : START + MARK_BYTES]
    if len(first) < MARK_BYTES:
        return None
    if first == second or len(second) < MARK_BYTES:
        return first
    return max((first, second), key=data.count)


def scan(segment: str, data: bytes, mark: bytes, at: int) -> Iterator[Frame]:
    """Every whole frame of ``data``, which starts at position ``at`` of the segment; stops before an unfinished tail.

    A stretch that is no frame is given as damaged only when a whole frame follows it: the writer writes in order, so
    what comes before a whole frame is finished.
    """
    here = 0
    while True:
        for start, end in _whole_frames(data, mark, here):
            yield Frame(segment, at + start, at + end, data[start + FRAME_BYTES : end])
            here = end
        resumed = _resume(data, mark, here)
        if resumed is None:
            return
        yield Frame(segment, at + here, at + resumed, data[here:resumed], DAMAGED)
        here = resumed


def judge_tail(data: bytes, mark: bytes) -> str:
    """What the bytes after the last whole frame of a finished segment are: torn off, or damaged."""
    if len(data) < FRAME_BYTES:
        return TORN if mark.startswith(data[:MARK_BYTES]) else DAMAGED
    found, size, _ = _FRAME.unpack_from(data)
    return TORN if found == mark and FRAME_BYTES + size > len(data) else DAMAGED


def _whole_frames(data: bytes, mark: bytes, here: int) -> Iterator[tuple[int, int]]:
    """Start and end of each frame from here on, up to the first that is not whole."""
    read, most = _FRAME.unpack_from, len(data)
    while (start := here + FRAME_BYTES) <= most:
        found, size, checksum = read(data, here)
        end = start + size
        if found != mark or end > most or crc32(data[start:end], size) != checksum:
            return
        yield here, end
        here = end


def _resume(data: bytes, mark: bytes, here: int) -> int | None:
    """Where the next whole frame after a damaged one starts."""
    candidate = data.find(mark, here + 1)
    while candidate != -1:
        if next(_whole_frames(data, mark, candidate), None) is not None:
            return candidate
        candidate = data.find(mark, candidate + 1)
    return None


def _listed(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None

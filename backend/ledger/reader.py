"""Reads what is new in all spools of a folder, every worker in turn."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from backend.ledger.records import Layout, UnreadableRecord, decode_head
from backend.ledger.segments import START, TORN, Frame, judge_tail, measure_segments, read_mark, scan, worker_of

CHUNK_BYTES = 8 * 1024 * 1024
_LEAST_SHARE = 256 * 1024
_HEAD_BYTES = 16 * 1024

log = logging.getLogger("governor.ledger")


Sourced = tuple[Frame, Layout]
"""A record with the layout of the segment it stands in."""


@dataclass(slots=True, frozen=True)
class _Head:
    mark: bytes
    layout: Layout
    readable: bool


class SpoolReader:
    """Remembers how far each segment is drained; positions move only when told, after the commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.positions: dict[str, int] = {}
        self._heads: dict[str, _Head] = {}

    def read(self, finished: Collection[str] = ()) -> list[Sourced]:
        """New records, about ``CHUNK_BYTES`` in all: from the oldest undrained segment of every worker.

        ``finished`` names workers known, before this call, to write no more: what they left at the end is final.
        """
        turns = self._turns(measure_segments(self.folder), finished)
        share = max(_LEAST_SHARE, CHUNK_BYTES // max(1, len(turns)))
        return [found for name, size in turns for found in self._read_segment(name, size, share)]

    def drained(self, finished: Collection[str] = ()) -> list[str]:
        """Segments drained to the end that will not grow: all but the last of a living worker."""
        sizes = measure_segments(self.folder)
        final = _final(sizes, finished)
        return [name for name, size in sizes.items() if name in final and self.positions.get(name, 0) >= size]

    def undrained_bytes(self) -> int:
        """Bytes that wait to be drained."""
        sizes = measure_segments(self.folder)
        return sum(max(0, size - self.positions.get(name, 0)) for name, size in sizes.items())

    def move(self, positions: Mapping[str, int]) -> None:
        """Records up to here are in the database."""
        self.positions.update(positions)

    def forget(self, names: Iterable[str]) -> None:
        """These segments are gone."""
        for name in names:
            self.positions.pop(name, None)
            self._heads.pop(name, None)

    def _turns(self, sizes: Mapping[str, int], finished: Collection[str]) -> list[tuple[str, int | None]]:
        """Each worker's oldest undrained segment, with its size where that is final."""
        final = _final(sizes, finished)
        turns: list[tuple[str, int | None]] = []
        for _, names in groupby(sizes, worker_of):
            waiting = [name for name in names if sizes[name] > self.positions.get(name, 0)]
            turns += [(name, sizes[name] if name in final else None) for name in waiting[:1]]
        return turns

    def _read_segment(self, name: str, size: int | None, share: int) -> list[Sourced]:
        fd = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = self._heads.get(name) or self._read_head(name, fd)
            if head is None:
                return [] if size is None else [(_headless(name, os.pread(fd, size, 0)), Layout())]
            frames = self._read_frames(fd, name, (size, share)) if head.readable else []
            return [(frame, head.layout) for frame in frames]
        finally:
            os.close(fd)

    def _read_frames(self, fd: int, name: str, bounds: tuple[int | None, int]) -> list[Frame]:
        size, share = bounds
        mark, at = self._heads[name].mark, max(START, self.positions.get(name, 0))
        for most in (share, os.fstat(fd).st_size):  # the second time for a record larger than a share
            data = os.pread(fd, most, at)
            frames = list(scan(name, data, mark, at))
            if frames:
                break
        end = frames[-1].end if frames else at
        if size is not None and end < size and at + len(data) >= size:
            left = data[end - at :]
            frames.append(Frame(name, end, size, left, judge_tail(left, mark)))
        return frames

    def _read_head(self, name: str, fd: int) -> _Head | None:
        """The mark and layout of a segment; none while its first bytes are not there."""
        for most in (_HEAD_BYTES, os.fstat(fd).st_size):  # the second time when the head is damaged
            data = os.pread(fd, most, 0)
            mark = read_mark(data)
            first = None if mark is None else next(scan(name, data[START:], mark, START), None)
            if mark is not None and first is not None:
                self._heads[name] = _Head(mark, *self._read_layout(first))
                return self._heads[name]
        return None

    def _read_layout(self, first: Frame) -> tuple[Layout, bool]:
        if first.damage is not None:
            return Layout(), True
        try:
            return decode_head(first.content), True
        except UnreadableRecord:
            log.critical("spool segment %s has a format this version does not know; it is left alone", first.segment)
            return Layout(), False


def _headless(name: str, data: bytes) -> Frame:
    """All of a finished segment in which no whole frame is."""
    mark = read_mark(data) or b""
    return Frame(name, 0, len(data), data, judge_tail(data[START:], mark) if mark else TORN)


def _final(sizes: Mapping[str, int], finished: Collection[str]) -> set[str]:
    """Segments that will not grow any more."""
    final: set[str] = set()
    for worker, group in groupby(sizes, worker_of):
        names = list(group)
        final.update(names if worker in finished else names[:-1])
    return final

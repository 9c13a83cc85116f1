from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from backend.ledger import reader as reader_module
from backend.ledger.reader import SpoolReader
from backend.ledger.segments import DAMAGED, MAGIC, START, TORN, Frame, measure_segments, pack
from backend.ledger.spool import Spool

MARK = b"12345678"


def read_all(reader: SpoolReader, finished: tuple[str, ...] = ()) -> list[Frame]:
    found: list[Frame] = []
    while records := reader.read(finished):
        found += [frame for frame, _ in records]
        reader.move({frame.segment: frame.end for frame, _ in records})
    return [frame for frame in found if frame.start != START or frame.damage]


def write_segment(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(MAGIC + MARK + pack(MARK, b'{"format":1,"worker":"w"}') + data)


def test_nothing_is_read_twice_once_moved(tmp_path: Path) -> None:
    spool, reader = Spool(tmp_path, "w-1-1"), SpoolReader(tmp_path)
    spool.append(b"one")
    assert [frame.content for frame in read_all(reader)] == [b"one"]
    assert read_all(reader) == []
    assert reader.undrained_bytes() == 0
    spool.append(b"two")
    assert reader.undrained_bytes() > 0
    assert [frame.content for frame in read_all(reader)] == [b"two"]
    spool.close()


def test_what_was_not_moved_is_read_again(tmp_path: Path) -> None:
    spool, reader = Spool(tmp_path, "w-1-1"), SpoolReader(tmp_path)
    spool.append(b"one")
    assert reader.read() == reader.read() != []
    spool.close()


def test_every_worker_gets_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "CHUNK_BYTES", 6_000)
    monkeypatch.setattr(reader_module, "_LEAST_SHARE", 1_000)
    loud, quiet, reader = Spool(tmp_path, "a-1-1"), Spool(tmp_path, "z-1-1"), SpoolReader(tmp_path)
    for _ in range(100):
        loud.append(b"x" * 500)
    quiet.append(b"quiet")
    first = [frame.content for frame, _ in reader.read()]
    assert first.count(b"quiet") == 1
    assert 1 <= first.count(b"x" * 500) <= 10
    loud.close()
    quiet.close()


def test_a_record_larger_than_a_share_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(reader_module, "_LEAST_SHARE", 100)
    spool, reader = Spool(tmp_path, "w-1-1"), SpoolReader(tmp_path)
    written = [b"x" * 50_000, b"y", b"z" * 70_000]
    for content in written:
        spool.append(content)
    assert [frame.content for frame in read_all(reader)] == written
    spool.close()


def test_the_unfinished_tail_of_a_living_worker_is_waited_for(tmp_path: Path) -> None:
    whole = pack(MARK, b"one") + pack(MARK, b"two")
    reader = SpoolReader(tmp_path)
    write_segment(tmp_path, "w-1-1.00000001.spool", whole[:-1])
    assert [frame.content for frame in read_all(reader)] == [b"one"]
    assert reader.drained() == []
    write_segment(tmp_path, "w-1-1.00000001.spool", whole)
    assert [frame.content for frame in read_all(reader)] == [b"two"]


@pytest.mark.parametrize("cut", range(1, 24))
def test_the_torn_tail_of_a_dead_worker_is_passed_over(tmp_path: Path, cut: int) -> None:
    write_segment(tmp_path, "w-1-1.00000001.spool", pack(MARK, b"one") + pack(MARK, b"twotwotwo")[:cut])
    reader = SpoolReader(tmp_path)
    first, tail = read_all(reader, ("w-1-1",))
    assert (first.content, tail.damage) == (b"one", TORN)
    assert reader.drained(("w-1-1",)) == ["w-1-1.00000001.spool"]


def test_a_damaged_last_record_of_a_dead_worker_is_kept_as_damage(tmp_path: Path) -> None:
    hurt = pack(MARK, b"two")[:-1] + b"?"
    write_segment(tmp_path, "w-1-1.00000001.spool", pack(MARK, b"one") + hurt)
    _, last = read_all(SpoolReader(tmp_path), ("w-1-1",))
    assert (last.damage, last.content) == (DAMAGED, hurt)


@pytest.mark.parametrize("size", [0, 1, 8, 15, 16, 20, 40])
def test_a_segment_torn_at_its_head_is_passed_over(tmp_path: Path, size: int) -> None:
    name = "w-1-1.00000001.spool"
    write_segment(tmp_path, name, b"")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:size])
    reader = SpoolReader(tmp_path)
    assert read_all(reader) == []
    assert {frame.damage for frame in read_all(reader, ("w-1-1",))} <= {TORN}
    assert reader.drained(("w-1-1",)) == [name]


def test_records_after_a_damaged_head_are_read(tmp_path: Path) -> None:
    name = "w-1-1.00000001.spool"
    write_segment(tmp_path, name, pack(MARK, b"x" * 40_000) + pack(MARK, b"two"))
    data = bytearray((tmp_path / name).read_bytes())
    data[START + 20] ^= 1
    (tmp_path / name).write_bytes(data)
    head, first, second = read_all(SpoolReader(tmp_path))
    assert head.damage == DAMAGED
    assert (len(first.content), second.content) == (40_000, b"two")


def test_only_segments_that_cannot_grow_are_drained(tmp_path: Path) -> None:
    spool, reader = Spool(tmp_path, "w-1-1", segment_bytes=2_000), SpoolReader(tmp_path)
    for _ in range(4):
        spool.append(b"x" * 900)
    assert reader.drained() == []
    read_all(reader)
    names = list(measure_segments(tmp_path))
    assert reader.drained() == names[:-1]
    assert reader.drained(("w-1-1",)) == names
    spool.close()


def test_a_segment_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    name = "w-1-1.00000001.spool"
    head = orjson.dumps({"format": 99})
    (tmp_path / name).write_bytes(MAGIC + MARK + pack(MARK, head) + pack(MARK, b"one"))
    reader = SpoolReader(tmp_path)
    assert reader.read(("w-1-1",)) == []
    assert reader.drained(("w-1-1",)) == []

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.ledger.segments import (
    DAMAGED,
    FRAME_BYTES,
    START,
    TORN,
    judge_tail,
    list_workers,
    measure_segments,
    pack,
    read_mark,
    scan,
    segment_name,
    worker_of,
)

MARK = bytes(range(1, 9))
contents = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def frames_of(data: bytes, mark: bytes = MARK) -> list[bytes]:
    return [frame.content for frame in scan("s", data, mark, 0) if frame.damage is None]


@given(contents)
def test_whole_frames_are_read_back(written: list[bytes]) -> None:
    data = b"".join(pack(MARK, each) for each in written)
    found = list(scan("s", data, MARK, 100))
    assert [frame.content for frame in found] == written
    assert found[0].start == 100
    assert found[-1].end == 100 + len(data)


@given(contents)
def test_cut_at_every_byte_only_whole_records_are_left(written: list[bytes]) -> None:
    data = b"".join(pack(MARK, each) for each in written)
    for cut in range(len(data)):
        found = list(scan("s", data[:cut], MARK, 0))
        assert [frame.content for frame in found] == written[: len(found)]
        left = data[found[-1].end if found else 0 : cut]
        assert judge_tail(left, MARK) == TORN


@settings(max_examples=25)
@given(contents, st.integers(min_value=1, max_value=255))
def test_no_damaged_byte_ever_yields_a_wrong_record(written: list[bytes], change: int) -> None:
    data = b"".join(pack(MARK, each) for each in written)
    for place in range(len(data)):
        hurt = bytearray(data)
        hurt[place] ^= change
        found = frames_of(bytes(hurt))
        assert len(found) >= len(written) - 1
        assert _is_subsequence(found, written)


def _is_subsequence(found: list[bytes], written: list[bytes]) -> bool:
    rest = iter(written)
    return all(any(each == candidate for candidate in rest) for each in found)


def test_the_bytes_of_a_damaged_stretch_are_given_whole() -> None:
    data = bytearray(b"".join(pack(MARK, each) for each in (b"one", b"two", b"three")))
    data[FRAME_BYTES + 3 + FRAME_BYTES] ^= 1
    first, second, third = scan("s", bytes(data), MARK, 0)
    assert (first.content, second.damage, third.content) == (b"one", DAMAGED, b"three")
    assert second.content == bytes(data[second.start : second.end])


def test_a_frame_planted_inside_a_record_is_never_read() -> None:
    planted = pack(b"guessed!", b"a call that never was")
    torn = pack(MARK, b"x" + planted * 3)[:-1]
    assert frames_of(torn) == []


@given(st.binary(min_size=FRAME_BYTES, max_size=60))
def test_bytes_that_are_no_frame_are_damage_not_a_torn_tail(data: bytes) -> None:
    assert judge_tail(bytes(8) + data[8:], MARK) == DAMAGED


def test_a_damaged_mark_is_recovered_from_the_first_frame() -> None:
    data = bytearray(b"GOVSPOOL" + MARK + pack(MARK, b"{}") + pack(MARK, b"one"))
    for place in (*range(8, START), *range(START, START + 8)):
        hurt = bytearray(data)
        hurt[place] ^= 0xFF
        assert read_mark(bytes(hurt)) == MARK


@pytest.mark.parametrize("size", range(START))
def test_a_segment_that_is_only_beginning_has_no_mark(size: int) -> None:
    assert read_mark((b"GOVSPOOL" + MARK)[:size]) is None


def test_names_sort_in_the_order_of_writing_and_name_their_worker(tmp_path: Path) -> None:
    worker = "host.example-12-1700"
    names = [segment_name(worker, number) for number in (1, 2, 10, 11)]
    for name in reversed(names):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "other-1-2.lock").touch()
    (tmp_path / "drainer.json").touch()
    assert list(measure_segments(tmp_path)) == names
    assert {worker_of(name) for name in names} == {worker}
    assert list_workers(tmp_path) == {worker, "other-1-2"}


def test_a_folder_that_is_not_there_has_no_segments(tmp_path: Path) -> None:
    assert measure_segments(tmp_path / "none") == {}
    assert list_workers(tmp_path / "none") == set()

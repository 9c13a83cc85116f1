from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.ledger.reader import SpoolReader
from backend.ledger.segments import measure_segments
from backend.ledger.spool import Spool, lock_worker, try_lock, worker_name
from tests.sources import ROOT


def contents_of(folder: Path, finished: tuple[str, ...] = ()) -> list[bytes]:
    reader, found = SpoolReader(folder), list[bytes]()
    while records := reader.read(finished):
        found += [frame.content for frame, _ in records if frame.damage is None]
        reader.move({frame.segment: frame.end for frame, _ in records})
    return [content for content in found if not content.startswith(b'{"format"')]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300), max_size=30), st.integers(min_value=1, max_value=5_000))
def test_everything_appended_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, written: list[bytes], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, "w-1-1", segment_bytes=segment_bytes)
    for content in written:
        spool.append(content)
    assert contents_of(folder) == written
    spool.close()


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w-1-1", segment_bytes=4_000)
    for _ in range(10):
        spool.append(b"x" * 1_000)
    sizes = measure_segments(tmp_path)
    assert len(sizes) > 3
    assert max(sizes.values()) <= 4_000
    assert sum(sizes.values()) == spool.written
    spool.close()


def test_a_partial_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: max(1, len(data) // 2)]))
    spool = Spool(tmp_path, "w-1-1")
    spool.append(b"one")
    spool.append(b"two" * 100)
    assert contents_of(tmp_path) == [b"one", b"two" * 100]
    spool.close()


def fail_after(limit: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let `limit` more bytes through, then the disk is full until the list is emptied."""
    write, left = os.write, [limit]

    def write_some(fd: int, data: Any) -> int:
        if not left:
            return write(fd, data)
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(fd, bytes(data[: left[0]]))
        left[0] -= done
        return done

    monkeypatch.setattr(os, "write", write_some)
    return left


@pytest.mark.parametrize("limit", range(0, 60, 7))
def test_a_refused_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    spool = Spool(tmp_path, "w-1-1")
    spool.append(b"first")
    left = fail_after(limit, monkeypatch)
    with pytest.raises(OSError, match="No space"):
        spool.append(b"second" * 20)
    left.clear()
    spool.append(b"third")
    assert contents_of(tmp_path) == [b"first", b"third"]
    spool.close()


@pytest.mark.parametrize("limit", [0, 5, 20, 300])
def test_a_segment_that_cannot_be_begun_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    spool = Spool(tmp_path, "w-1-1")
    left = fail_after(limit, monkeypatch)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            spool.append(b"first")
        left[0] = limit
    assert measure_segments(tmp_path) == {}
    left.clear()
    spool.append(b"second")
    assert contents_of(tmp_path) == [b"second"]
    spool.close()


def test_a_tail_that_cannot_be_cut_off_ends_its_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "w-1-1")
    spool.append(b"first")
    left = fail_after(10, monkeypatch)

    def refuse(fd: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="No space"):
        spool.append(b"second")
    left.clear()
    spool.append(b"third")
    assert len(measure_segments(tmp_path)) == 2
    assert contents_of(tmp_path) == [b"first", b"third"]
    spool.close()


def test_a_file_size_limit_refuses_records_and_keeps_those_before(tmp_path: Path) -> None:
    script = f"""
        import resource
        from pathlib import Path
        from backend.ledger.spool import Spool
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        spool, kept = Spool(Path({str(tmp_path)!r}), "w-1-1"), 0
        try:
            while True:
                spool.append(b"%09d" % kept + b"." * 700)
                kept += 1
        except OSError as error:
            print(kept, error.errno)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        spool.append(b"after")
    """
    kept, number = map(int, run_python(script).split())
    assert number == errno.EFBIG
    assert kept > 10
    found = contents_of(tmp_path)
    assert found[-1] == b"after"
    assert [int(content[:9]) for content in found[:-1]] == list(range(kept))


@pytest.mark.parametrize("seed", range(10))
def test_kill_9_loses_nothing_that_was_said_to_be_kept(tmp_path: Path, seed: int) -> None:
    script = f"""
        import sys
        from pathlib import Path
        from backend.ledger.spool import Spool
        spool = Spool(Path({str(tmp_path)!r}), "w-1-1", segment_bytes=50_000)
        for number in range(10**9):
            spool.append(b"%d" % number + b"." * (number % 3000))
            sys.stdout.write(f"{{number}}\\n")
            sys.stdout.flush()
    """
    with subprocess.Popen(python(script), stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        for _ in range(20 + 37 * seed):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().decode().split("\n")[-2:]
    last = int(said[0] or 20 + 37 * seed - 1)
    found = [int(content.rstrip(b".")) for content in contents_of(tmp_path, ("w-1-1",))]
    assert found == list(range(len(found)))
    assert len(found) > last


def test_a_lock_is_free_once_its_worker_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "w-1-1.lock"
    script = f"""
        import sys, time
        from pathlib import Path
        from backend.ledger.spool import Spool
        spool = Spool(Path({str(tmp_path)!r}), "w-1-1")
        print("ready", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(python(script), stdout=subprocess.PIPE, cwd=ROOT) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        assert try_lock(path) is None
        worker.kill()
        worker.wait()
    lock = try_lock(path)
    assert lock is not None
    os.close(lock)


def test_a_lock_file_tidied_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "w-1-1.lock"
    first = lock_worker(path)
    path.unlink()
    second = lock_worker(path)
    assert try_lock(path) is None
    os.close(first)
    os.close(second)
    assert try_lock(tmp_path / "nobody.lock") is None


def test_sync_reaches_every_segment_and_survives_a_drained_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "w-1-1", segment_bytes=2_000)
    for _ in range(6):
        spool.append(b"x" * 900)
    first = min(measure_segments(tmp_path))
    (tmp_path / first).unlink()
    synced, fsync = list[int](), os.fsync

    def count(fd: int) -> None:
        synced.append(fd)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", count)
    spool.sync()
    assert len(synced) == len(measure_segments(tmp_path)) + 1
    spool.sync()
    assert len(synced) == len(measure_segments(tmp_path)) + 2
    spool.close()


def test_no_two_workers_have_one_name() -> None:
    name = worker_name()
    assert len({worker_name() for _ in range(1_000)}) == 1_000
    assert str(os.getpid()) in name
    assert len(name) <= 64
    assert not set(name) & set("./ ")


def python(script: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script)]


def run_python(script: str) -> str:
    return subprocess.run(python(script), check=True, capture_output=True, text=True, cwd=ROOT).stdout

"""A full disk: calls are refused before they go out, reads go on, and the gateway recovers by itself."""

import asyncio
import os
import random
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.faults.clients import Ask, Outcome
from tests.faults.load import HONEST, Load, mix
from tests.faults.rig import Rig
from tests.faults.waiting import wait_until

pytestmark = pytest.mark.faults

SMALL = {"ledger": {"headroom_mb": 1, "spool_cap_mb": 64}}
needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A memory disk of that size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until there is no byte left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\x00" * 4096):
                pass
        except OSError:
            return ballast
    return ballast


async def place_until(rig: Rig, *, answered: bool) -> Outcome:
    """Place calls until one is answered, or one is refused for want of a ledger."""
    for _ in range(200):
        outcome = await rig.place(Ask("fake/ok", stream=True))
        if (outcome.end == "ok") == answered:
            return outcome
    raise AssertionError(f"200 calls and none was {'answered' if answered else 'refused'}: {outcome}")


async def assert_refuses(rig: Rig) -> None:
    refused = await place_until(rig, answered=False)
    assert (refused.http_status, refused.error_code) == (503, "ledger_unavailable")
    assert rig.acceptances(refused) == []
    await wait_until(lambda: not rig.gateway.is_ready())


async def assert_recovers(rig: Rig) -> None:
    await rig.gateway.wait_ready()
    await place_until(rig, answered=True)


@needs_mount
async def test_a_full_disk_refuses_and_recovers(rig: Rig) -> None:
    with small_disk(rig.gateway.data_dir, 32) as disk:
        rig.start(SMALL)
        load = Load(rig, mix(random.Random(4), HONEST, leaving=0.0), 20)
        for _ in range(2):
            await place_until(rig, answered=True)
            ballast = fill(disk)
            await assert_refuses(rig)
            ballast.unlink()
            await assert_recovers(rig)
        await load.stop()
        rig.close()


@needs_mount
async def test_a_database_disk_that_fills_as_the_gateway_comes_up_stops_nothing(rig: Rig, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        rig.gateway.environment["GOVERNOR_DATABASE_URL"] = f"sqlite:///{disk / 'governor.db'}"
        rig.gateway.start()
        ballast = fill(disk)
        await asyncio.sleep(2)
        ballast.unlink()
        assert rig.gateway.is_ready()
        assert rig.gateway.stop() == 0


@needs_mount
async def test_a_full_database_disk_only_fills_the_spool(rig: Rig, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        rig.gateway.environment["GOVERNOR_DATABASE_URL"] = f"sqlite:///{disk / 'governor.db'}"
        rig.start(SMALL)
        ballast = fill(disk)
        outcomes = await rig.place_all([Ask(f"fake/ok@{seed}") for seed in range(100)])
        ballast.unlink()
        assert {outcome.end for outcome in outcomes} == {"ok"}
        rig.close()


async def test_a_file_size_limit_refuses_and_recovers(rig: Rig) -> None:
    rig.start(SMALL)
    load = Load(rig, mix(random.Random(5), HONEST, leaving=0.0), 20)
    await place_until(rig, answered=True)
    limit_files(rig, 1)
    await assert_refuses(rig)
    limit_files(rig, resource.RLIM_INFINITY)
    await assert_recovers(rig)
    await load.stop()
    rig.close()


def limit_files(rig: Rig, size_bytes: int) -> None:
    """Bound the size of files for every process of the gateway."""
    for process in rig.gateway.children():
        try:
            process.rlimit(psutil.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
        except psutil.NoSuchProcess:
            continue

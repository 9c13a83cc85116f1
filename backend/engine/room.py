"""Whether this machine has room for two engines at once while one takes over from the other."""

from __future__ import annotations

from pathlib import Path

from backend.engine.gpu import read_gpus
from backend.engine.process import Pid, session_bytes
from backend.settings.knobs import EngineSpec

MOST_SHARE = 0.97
SPARE = 1.15
"""How much more memory than the old one holds must be free."""


def has_room_for_both(old: EngineSpec, new: EngineSpec, leader: Pid) -> bool:
    """Whether the new one may start while the old one runs: by the shares of GPU memory, else by main memory."""
    gpus = len(read_gpus().gpus)
    if gpus:
        return fits_gpus(old, new, gpus)
    return fits_memory(session_bytes(leader), new.cpu_kv_cache_gb, available_bytes())


def fits_gpus(old: EngineSpec, new: EngineSpec, gpus: int) -> bool:
    """Whether no GPU that both take is promised beyond its memory."""
    if new.executor == "ray":
        return False
    shared = _devices(old, gpus) & _devices(new, gpus)
    return not shared or old.gpu_memory_utilization + new.gpu_memory_utilization <= MOST_SHARE


def _devices(spec: EngineSpec, gpus: int) -> set[int]:
    numbers = [int(each) for each in spec.devices.split(",")] if spec.devices else list(range(gpus))
    return set(numbers[: spec.gpus])


def fits_memory(held: int, kv_cache_gb: int, available: int | None) -> bool:
    """Whether so much again, and a full cache, leave some memory; False where that is unknown."""
    return available is not None and held * SPARE + kv_cache_gb * 2**30 <= available


def available_bytes() -> int | None:
    """Memory that can be had without swapping; None where the kernel does not say (proc(5))."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(found) * 1024 if found else None

"""The machine: which core does what, what a process used, what to say about it in a report."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import psutil

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def pick_cores() -> tuple[set[int], set[int]]:
    """One core for the gateway and another for load and upstream; the same one twice where there is no other."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    others = [core for core in allowed if core not in _siblings(first)] or allowed[1:] or [first]
    return {first}, {others[0]}


def _siblings(core: int) -> set[int]:
    try:
        text = Path(_TOPOLOGY.format(core)).read_text()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def pin(pid: int, cores: set[int]) -> None:
    """Keep every thread of a process on these cores; does nothing where the system cannot."""
    if not cores:
        return
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used so far, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us; returns how many."""
    import resource  # noqa: PLC0415 - absent on Windows

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def describe() -> str:
    """Processor, cores, system and interpreter, and how busy the machine is."""
    load = os.getloadavg()[0]
    parts = [_processor(), f"{os.cpu_count()} cores", f"{platform.system()} {platform.release()}"]
    return ", ".join([*parts, f"Python {platform.python_version()}", f"load average {load:.1f} at the start"])


def version_of(command: list[str]) -> str:
    """The first line a program says about its version, on whichever stream."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

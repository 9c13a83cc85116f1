"""GPUs as NVIDIA's library sees them: memory, utilisation, power, temperature, or why there is nothing to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Literal

GpuState = Literal["ok", "no library", "no driver", "no GPU", "failed"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU now; a figure that it does not tell is None."""

    number: int
    name: str
    memory_bytes: int
    memory_used_bytes: int
    utilization: float | None
    """Share of the last sampling period in which a kernel ran, 0 to 1."""
    power_w: float | None
    power_limit_w: float | None
    temperature_c: int | None

    def figures(self) -> dict[str, Any]:
        """As plain data, for storage."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GpuReading:
    """Every GPU, or none and the reason in ``state`` and words."""

    state: GpuState
    reason: str
    gpus: tuple[Gpu, ...] = ()


def read_gpus(library: ModuleType | None = None) -> GpuReading:
    """Look at every GPU of this machine; never raises. ``library`` stands in for ``pynvml`` where given."""
    try:
        nvml = library or _load()
    except ImportError:
        return GpuReading("no library", "nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return GpuReading("no driver", f"no NVIDIA driver answers ({error})")
    try:
        gpus = tuple(_look(nvml, number) for number in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError as error:
        return GpuReading("failed", f"the driver answers with an error ({error})")
    finally:
        _leave(nvml)
    return GpuReading("ok", f"{len(gpus)} GPUs", gpus) if gpus else GpuReading("no GPU", "the driver knows no GPU")


def _load() -> Any:
    import pynvml  # noqa: PLC0415 - only where engines are

    return pynvml


def _look(nvml: Any, number: int) -> Gpu:
    device = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    name = nvml.nvmlDeviceGetName(device)
    busy = _told(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu)
    power = _told(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(device))
    limit = _told(nvml, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(device))
    heat = _told(nvml, lambda: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))
    return Gpu(
        number=number,
        name=name.decode() if isinstance(name, bytes) else str(name),
        memory_bytes=int(memory.total),
        memory_used_bytes=int(memory.used),
        utilization=None if busy is None else busy / 100,
        power_w=None if power is None else power / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        temperature_c=None if heat is None else int(heat),
    )


def _told(nvml: Any, ask: Callable[[], Any]) -> Any:
    """What a GPU tells; None where it does not support the question."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def _leave(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return

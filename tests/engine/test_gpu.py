"""GPUs: read through a library that answers as NVIDIA's does, and every state in which there are none."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.engine.gpu import read_gpus


class NVMLError(Exception):
    pass


class Nvml(ModuleType):
    """Stands in for pynvml with two GPUs, the second of which tells nothing but its memory."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NVMLError

    def __init__(self, count: int = 2, *, driver: bool = True, broken: bool = False) -> None:
        super().__init__("pynvml")
        self.count, self.driver, self.broken, self.open = count, driver, broken, False
        self.__dict__["nvmlDeviceGetMemoryInfo"] = lambda _: SimpleNamespace(total=80, used=20)

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise NVMLError("NVML Shared Library Not Found")
        self.open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.broken:
            raise NVMLError("GPU is lost")
        return self.count

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetName(self, number: int) -> str | bytes:  # noqa: N802
        return b"NVIDIA Old" if number else "NVIDIA H100"

    def nvmlDeviceGetUtilizationRates(self, number: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._only_first(number, 75))

    def nvmlDeviceGetPowerUsage(self, number: int) -> int:  # noqa: N802
        return self._only_first(number, 350_500)

    def nvmlDeviceGetEnforcedPowerLimit(self, number: int) -> int:  # noqa: N802
        return self._only_first(number, 700_000)

    def nvmlDeviceGetTemperature(self, number: int, _: int) -> int:  # noqa: N802
        return self._only_first(number, 61)

    def _only_first(self, number: int, value: int) -> int:
        if number:
            raise NVMLError("Not Supported")
        return value


def test_every_gpu_is_read_and_what_it_does_not_tell_is_none() -> None:
    nvml = Nvml()
    found = read_gpus(nvml)
    assert found.state == "ok"
    first, second = found.gpus
    assert (first.name, first.memory_bytes, first.memory_used_bytes) == ("NVIDIA H100", 80, 20)
    assert (first.utilization, first.power_w, first.power_limit_w, first.temperature_c) == (0.75, 350.5, 700.0, 61)
    assert (second.name, second.utilization, second.power_w, second.temperature_c) == ("NVIDIA Old", None, None, None)
    assert not nvml.open


@pytest.mark.parametrize(
    ("nvml", "state", "says"),
    [
        (Nvml(driver=False), "no driver", "no NVIDIA driver answers (NVML Shared Library Not Found)"),
        (Nvml(count=0), "no GPU", "the driver knows no GPU"),
        (Nvml(broken=True), "failed", "the driver answers with an error (GPU is lost)"),
    ],
)
def test_where_there_is_nothing_the_state_says_why(nvml: Nvml, state: str, says: str) -> None:
    found = read_gpus(nvml)
    assert (found.state, found.reason, found.gpus) == (state, says, ())


def test_this_machine_is_in_one_of_the_states() -> None:
    found = read_gpus()
    assert (found.state == "ok") == bool(found.gpus)
    assert found.reason

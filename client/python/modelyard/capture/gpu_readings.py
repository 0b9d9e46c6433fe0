"""Readings of NVIDIA's graphics processors, where the package nvidia-ml-py and a driver are installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from modelyard.host import forking

MOST = 64
"""The most processors that are read."""


class GpuReadings:
    """Of each graphics processor, with names that begin with `gpu.<number>`.

    .gpu, .memory                      percent of the time in which it computed, and used its memory
    .memoryAllocated                   used memory in percent
    .memoryAllocatedBytes              the same in bytes
    .temp                              degrees Celsius
    .powerWatts, .powerPercent         present power, and that in percent of the limit
    .enforcedPowerLimitWatts           the limit

    Errors: any, where there is no driver; a value that one processor does not have is left out.
    """

    def __init__(self) -> None:
        with forking.running():  # see MachineReadings
            self._nvml: Any = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        count = min(self._nvml.nvmlDeviceGetCount(), MOST)
        self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]

    def __call__(self) -> Mapping[str, float]:
        """The present values."""
        return {
            f"gpu.{number}.{name}": value
            for number, handle in enumerate(self._handles)
            for name, value in self._of(handle).items()
        }

    def _of(self, handle: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in (self._load, self._memory, self._temperature, self._power):
            with suppress(Exception):
                found |= part(handle)
        return found

    def _load(self, handle: Any) -> dict[str, float]:
        rates = self._nvml.nvmlDeviceGetUtilizationRates(handle)
        return {"gpu": rates.gpu, "memory": rates.memory}

    def _memory(self, handle: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {"memoryAllocated": 100 * memory.used / memory.total, "memoryAllocatedBytes": memory.used}

    def _temperature(self, handle: Any) -> dict[str, float]:
        return {"temp": self._nvml.nvmlDeviceGetTemperature(handle, self._nvml.NVML_TEMPERATURE_GPU)}

    def _power(self, handle: Any) -> dict[str, float]:
        watts = self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        found = {"powerWatts": watts}
        with suppress(Exception):  # not every model says its limit
            limit = self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
            found |= {"enforcedPowerLimitWatts": limit, "powerPercent": 100 * watts / limit}
        return found

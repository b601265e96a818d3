"""The GPUs of this machine in numbers, as NVML reports them; nothing where it finds none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from gateway.metrics import table

_REUSE_S: Final = 1.0  # NVML's own utilisation is that of up to a second
_TIMEOUT_S: Final = 1.0  # of a driver that hangs; what was read before is told meanwhile
_MILLI: Final = 1000


class Gpus:
    """Used inside one event loop; NVML is called on a thread, and stays open from its first call on."""

    def __init__(self) -> None:
        self._handles: list[tuple[str, str, Any]] | None = None  # index, name and handle; None before they are known
        self._families: Sequence[Metric] = ()
        self._read_s = float("-inf")
        self._reading: asyncio.Task[Sequence[Metric]] | None = None

    async def families(self) -> Sequence[Metric]:
        if self._handles == []:
            return ()
        if self._reading is None and time.monotonic() - self._read_s >= _REUSE_S:
            self._reading = asyncio.create_task(asyncio.to_thread(self._read))
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_TIMEOUT_S)
            if self._reading.done():
                self._families, self._read_s = self._reading.result(), time.monotonic()
                self._reading = None
        return self._families

    def _read(self) -> Sequence[Metric]:
        import pynvml  # nvidia-ml-py

        if self._handles is None:
            self._handles = _open()
        families = [_family(series) for series, _ in _READERS]
        for index, name, handle in self._handles:
            for family, (_, read) in zip(families, _READERS, strict=True):
                with suppress(pynvml.NVMLError):  # what this GPU does not report
                    family.add_metric([index, name], read(pynvml, handle))
        return [family for family in families if family.samples]


def _open() -> list[tuple[str, str, Any]]:
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [(index, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
        return [(str(index), pynvml.nvmlDeviceGetName(handle), handle) for index, handle in handles]
    except pynvml.NVMLError:
        return []


def _family(series: table.Series) -> Any:
    kind = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
    return kind(series.name, series.help, labels=series.labels)


_Read = Callable[[Any, Any], float]
_READERS: Final[tuple[tuple[table.Series, _Read], ...]] = (
    (table.GPU_UTILIZATION, lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
    (table.GPU_MEMORY_USED, lambda nvml, handle: nvml.nvmlDeviceGetMemoryInfo(handle).used),
    (table.GPU_MEMORY, lambda nvml, handle: nvml.nvmlDeviceGetMemoryInfo(handle).total),
    (table.GPU_POWER, lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / _MILLI),
    (table.GPU_ENERGY, lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / _MILLI),
)

"""A stand-in for the module `pynvml` of nvidia-ml-py, on machines that have no GPU: as much of it as Conch calls."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pynvml

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
H100 = ("NVIDIA H100 80GB HBM3", 81559 << 20, (9, 0))
H200 = ("NVIDIA H200", 143771 << 20, (9, 0))

Device = tuple[str, int, tuple[int, int]]


@dataclass
class FakeNvml:
    """NVML of a machine with these GPUs, or of one whose driver answers with an error of this number."""

    devices: tuple[Device, ...] = ()
    error: int | None = None
    open: int = 0
    counts_energy: bool = True

    NVMLError = pynvml.NVMLError
    NVMLError_LibraryNotFound = pynvml.NVMLError_LibraryNotFound
    NVMLError_DriverNotLoaded = pynvml.NVMLError_DriverNotLoaded

    def nvmlInit(self) -> None:  # noqa: N802 - NVIDIA's name
        if self.error is not None:
            raise pynvml.NVMLError(self.error)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        assert self.open
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:  # noqa: N802
        return self.devices[index]

    def nvmlDeviceGetName(self, handle: Device) -> str:  # noqa: N802
        return handle[0]

    def nvmlDeviceGetMemoryInfo(self, handle: Device) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=handle[1], free=handle[1], used=0)

    def nvmlDeviceGetUtilizationRates(self, _: Device) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=75, memory=40)

    def nvmlDeviceGetPowerUsage(self, _: Device) -> int:  # noqa: N802
        """Milliwatts."""
        return 350_500

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Device) -> int:  # noqa: N802
        """Millijoules."""
        if not self.counts_energy:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 1_234_500

    NVML_P2P_CAPS_INDEX_READ = pynvml.NVML_P2P_CAPS_INDEX_READ
    NVML_P2P_CAPS_INDEX_NVLINK = pynvml.NVML_P2P_CAPS_INDEX_NVLINK
    NVML_P2P_STATUS_OK = pynvml.NVML_P2P_STATUS_OK

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.65.06"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return 13000

    def nvmlDeviceGetP2PStatus(self, _: Device, __: Device, caps: int) -> int:  # noqa: N802
        """Its GPUs reach each other, and have no NVLink."""
        reads = caps == pynvml.NVML_P2P_CAPS_INDEX_READ
        return int(pynvml.NVML_P2P_STATUS_OK if reads else pynvml.NVML_P2P_STATUS_NOT_SUPPORTED)

    def nvmlDeviceGetCudaComputeCapability(self, handle: Device) -> list[int]:  # noqa: N802
        return list(handle[2])


def install_gpus(monkeypatch: pytest.MonkeyPatch, *devices: Device, error: int | None = None) -> FakeNvml:
    """Let this process see these GPUs."""
    nvml = FakeNvml(devices, error)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def install_gpu_for_children(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Let the Python processes that this one starts see a GPU, by way of a `sitecustomize.py` in `directory`."""
    lines = ("import sys", f"sys.path.append({str(ROOT)!r})", "from tests.fake_nvml import H100, FakeNvml")
    text = "\n".join((*lines, "sys.modules['pynvml'] = FakeNvml((H100,))", ""))
    (directory / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(directory), prepend=os.pathsep)

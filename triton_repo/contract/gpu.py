"""The NVIDIA GPUs of this machine, as its driver's own library (NVML) reports them: python -m triton_repo.contract.gpu.

Everything that asks for a GPU asks here. The one exception is `build_scripts/tensorrt_llm/on_gpu_host.py`: it runs in
NVIDIA's bare container, where only Python's own library is sure to be installed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """`memory_bytes` is the total that the driver reports; `capability` (compute capability) None is not known."""

    name: str
    memory_bytes: int
    capability: tuple[int, int] | None = None

    @property
    def compute_capability(self) -> str | None:
        """As NVIDIA writes it: `9.0`."""
        return None if self.capability is None else "{}.{}".format(*self.capability)


@dataclass(frozen=True, slots=True)
class InstalledGpus:
    """The GPUs that the driver reports, whatever CUDA_VISIBLE_DEVICES hides from a process: none without a driver.

    `problem` says why there are none where a driver is installed and does not answer.
    """

    devices: tuple[Gpu, ...] = ()
    problem: str | None = None

    @property
    def count(self) -> int:
        return len(self.devices)


def installed_gpus() -> InstalledGpus:
    """Ask NVML. Takes milliseconds; loads nothing of CUDA."""
    import pynvml  # nvidia-ml-py

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return InstalledGpus()
    except pynvml.NVMLError as error:
        return InstalledGpus(problem=str(error))
    try:
        return InstalledGpus(tuple(_device(index) for index in range(pynvml.nvmlDeviceGetCount())))
    except pynvml.NVMLError as error:
        return InstalledGpus(problem=str(error))
    finally:
        pynvml.nvmlShutdown()


def _device(index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total, (major, minor))


if __name__ == "__main__":
    print(json.dumps(asdict(installed_gpus()), indent=2))  # noqa: T201 - what the command is for

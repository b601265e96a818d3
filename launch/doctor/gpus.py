"""The GPUs: driver, what CUDA it runs, how they reach each other, and NCCL, which several of them need."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any, Final, Literal, Protocol

from launch.doctor.finding import Finding, error, warning
from triton_repo.contract.distribution import installed_version
from triton_repo.contract.gpu import Gpu, InstalledGpus

Link = Literal["NVLink", "PCIe", "none"]
CudaVersion = tuple[int, int]

# The oldest driver of each major version of CUDA, which runs all its minor versions (NVIDIA, "CUDA Compatibility").
OLDEST_DRIVER: Final[Mapping[int, int]] = {11: 450, 12: 525, 13: 580}
_RUNTIMES: Final = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")
_NCCL: Final = ("nvidia-nccl-cu13", "nvidia-nccl-cu12")
_NO_P2P: Final = ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE")


class Nvml(Protocol):
    """What the checks ask of a driver; `DriverNvml` asks a real one."""

    def driver_version(self) -> str:
        """As `580.65.06`."""

    def cuda_version(self) -> CudaVersion:
        """The newest CUDA that the driver runs."""

    def free_bytes(self, gpu: int, /) -> int:
        """Of its memory."""

    def link(self, one: int, other: int) -> Link:
        """By which way one GPU reads the memory of another."""


class DriverNvml:
    """NVML, between its start and its shutdown."""

    def __init__(self, pynvml: Any) -> None:
        self._nvml = pynvml

    def driver_version(self) -> str:
        return str(self._nvml.nvmlSystemGetDriverVersion())

    def cuda_version(self) -> CudaVersion:
        number = int(self._nvml.nvmlSystemGetCudaDriverVersion_v2())  # 1000 × major + 10 × minor
        return number // 1000, number % 1000 // 10

    def free_bytes(self, gpu: int) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._nvml.nvmlDeviceGetHandleByIndex(gpu)).free)

    def link(self, one: int, other: int) -> Link:
        nvml = self._nvml
        pair = [nvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in (one, other)]
        for kind, caps in (("NVLink", nvml.NVML_P2P_CAPS_INDEX_NVLINK), ("PCIe", nvml.NVML_P2P_CAPS_INDEX_READ)):
            if nvml.nvmlDeviceGetP2PStatus(*pair, caps) == nvml.NVML_P2P_STATUS_OK:
                return kind  # type: ignore[return-value]
        return "none"


@contextmanager
def driver_nvml() -> Iterator[Nvml]:
    """Raises: pynvml.NVMLError: there is no driver, or it does not answer."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield DriverNvml(pynvml)
    finally:
        pynvml.nvmlShutdown()


def findings(found: InstalledGpus) -> Iterator[Finding]:
    if found.problem is not None:
        yield warning("GPU", "a driver is installed", f"NVML reports: {found.problem}")
        return
    if not found.devices:
        yield Finding("GPU", "none: the CPU engine serves")
        return
    yield Finding("GPU", ", ".join(map(_shown, found.devices)))
    import pynvml

    try:
        with driver_nvml() as nvml:
            yield from check_gpus(nvml, found.devices, wanted_cuda(os.environ), nccl_version(), os.environ)
    except pynvml.NVMLError as failure:
        yield warning("GPU driver", "cannot be asked", f"NVML reports: {failure}")


def check_gpus(
    nvml: Nvml, gpus: Sequence[Gpu], wanted: CudaVersion | None, nccl: str | None, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """`wanted`: the CUDA that is installed for the engines; None where none is. `nccl`: its version."""
    yield check_driver(nvml.driver_version(), nvml.cuda_version(), wanted)
    yield from _check_memory(nvml, gpus)
    if len(gpus) > 1:
        yield check_links({pair: nvml.link(*pair) for pair in combinations(range(len(gpus)), 2)})
        yield _check_nccl(nccl)
        if off := [name for name in _NO_P2P if environ.get(name, "0") not in {"", "0"}]:
            todo = f"unset {' '.join(off)} unless ranks hang without: they then exchange through slower ways"
            yield warning("NCCL settings", f"{', '.join(off)} set", todo)


def check_driver(driver: str, runs: CudaVersion, wanted: CudaVersion | None) -> Finding:
    """A driver runs every minor version of the newest major version of CUDA that it knows."""
    found = f"{driver}, for CUDA up to {_dotted(runs)}"
    if wanted is None or wanted[0] <= runs[0]:
        installed = f"; installed is {_dotted(wanted)}" if wanted else ""
        return Finding("GPU driver", found + installed)
    needed = OLDEST_DRIVER.get(wanted[0])
    newer = f"install a driver {needed} or newer" if needed else "install a newer driver"
    compat = f"cuda-compat-{wanted[0]}-{wanted[1]}"
    todo = f"CUDA {_dotted(wanted)} is installed: {newer}, or {compat} on data-center GPUs"
    return error("GPU driver", found, todo)


def _check_memory(nvml: Nvml, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Engines take what is free when they start, so what others hold then is missing for good."""
    for index, gpu in enumerate(gpus):
        free = nvml.free_bytes(index)
        if free < gpu.memory_bytes * 9 // 10:
            found = f"{free / 2**30:.0f} of {gpu.memory_bytes / 2**30:.0f} GiB free"
            yield warning(f"GPU {index} memory", found, "engines get what is free: nvidia-smi names the others")


def check_links(links: Mapping[tuple[int, int], Link]) -> Finding:
    counts = Counter(links.values())
    found = ", ".join(f"{counts[kind]} pairs by {kind}" for kind in ("NVLink", "PCIe") if counts[kind])
    if not counts["none"]:
        return Finding("GPU links", found)
    pairs = ", ".join(f"{one}-{other}" for (one, other), kind in links.items() if kind == "none")
    todo = "an engine over these exchanges through the host's memory: nvidia-smi topo -p2p r says why"
    return warning("GPU links", f"{found + '; ' if found else ''}none between {pairs}", todo)


def _check_nccl(version: str | None) -> Finding:
    if version is None:
        return warning("NCCL", "not installed", "an engine over several GPUs needs it: serve in one of NVIDIA's images")
    return Finding("NCCL", version)


def wanted_cuda(environ: Mapping[str, str]) -> CudaVersion | None:
    """The CUDA of this container, as NVIDIA's images say it, or of the installed packages."""
    text = environ.get("CUDA_VERSION") or next(filter(None, map(installed_version, _RUNTIMES)), "")
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def nccl_version() -> str | None:
    """Of the package, or of the system's library: NVIDIA's images set its version."""
    return next(filter(None, map(installed_version, _NCCL)), None) or os.environ.get("NCCL_VERSION")


def _shown(gpu: Gpu) -> str:
    return f"{gpu.name} {gpu.memory_bytes / 2**30:.0f} GiB, compute capability {gpu.compute_capability}"


def _dotted(version: CudaVersion) -> str:
    return "{}.{}".format(*version)

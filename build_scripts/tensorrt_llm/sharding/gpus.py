"""GPUs to plan for: by name, by memory alone, or those of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from triton_repo.contract.errors import SpecError
from triton_repo.contract.gpu import Gpu, installed_gpus

_MIB: Final = 1 << 20
_GB: Final = 10**9
_ASKED: Final = re.compile(r"(?:(?P<count>[1-9]\d{0,4})x)?(?P<what>[a-z0-9][a-z0-9.-]*)")


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPUs of one kind; `count` None is as many as it takes."""

    gpu: Gpu
    count: int | None = None


def _gpu(name: str, memory_mib: int, capability: tuple[int, int]) -> Gpu:
    return Gpu(name, memory_mib * _MIB, capability)


# Memory as `nvidia-smi` shows it: somewhat less than the name says.
GPUS: Final[Mapping[str, Gpu]] = {
    gpu.name: gpu
    for gpu in (
        _gpu("a10-24gb", 23028, (8, 6)),
        _gpu("a30-24gb", 24576, (8, 0)),
        _gpu("a40-48gb", 46068, (8, 6)),
        _gpu("a100-40gb", 40960, (8, 0)),
        _gpu("a100-80gb", 81920, (8, 0)),
        _gpu("b200-180gb", 183359, (10, 0)),
        _gpu("b300-288gb", 275040, (10, 3)),
        _gpu("gb200-186gb", 189471, (10, 0)),
        _gpu("gh200-96gb", 97871, (9, 0)),
        _gpu("h20-96gb", 97871, (9, 0)),
        _gpu("h100-80gb", 81559, (9, 0)),
        _gpu("h100-94gb", 95830, (9, 0)),
        _gpu("h200-141gb", 143771, (9, 0)),
        _gpu("l4-24gb", 23034, (8, 9)),
        _gpu("l40s-48gb", 46068, (8, 9)),
        _gpu("rtx3090-24gb", 24576, (8, 6)),
        _gpu("rtx4090-24gb", 24564, (8, 9)),
        _gpu("rtx5090-32gb", 32607, (12, 0)),
        _gpu("rtx6000ada-48gb", 49140, (8, 9)),
        _gpu("rtxpro6000-96gb", 97887, (12, 0)),
    )
}


def find_gpus(asked: str | None) -> Gpus | None:
    """What `--gpu` asks for: `h100-80gb`, `4xh100-80gb`, `80` or `4x80` (GB each); None: those of this machine, if any.

    Raises:
        SpecError: no such GPU.
    """
    if asked is None:
        return _of_this_machine()
    match = _ASKED.fullmatch(asked.strip().lower())
    gpu = _named(match["what"]) if match else None
    if match is None or gpu is None:
        names = ", ".join(GPUS)
        raise SpecError(f'--gpu = "{asked}"; allowed: a number of GB, or one of {names}; several as 4xh100-80gb')
    return Gpus(gpu, int(match["count"]) if match["count"] else None)


def _named(what: str) -> Gpu | None:
    size = re.fullmatch(r"([1-9]\d{0,3}(?:\.\d+)?)(?:gb)?", what)
    return Gpu(f"{size[1]} GB", int(float(size[1]) * _GB)) if size else GPUS.get(what)


def _of_this_machine() -> Gpus | None:
    """A rank is planned for the smallest where they differ."""
    found = installed_gpus()
    return Gpus(min(found.devices, key=lambda gpu: gpu.memory_bytes), found.count) if found.devices else None

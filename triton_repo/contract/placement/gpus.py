"""The GPUs that an engine's ranks use, as the variables that CUDA reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from triton_repo.contract.errors import LaunchError

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_ORDER: Final = "CUDA_DEVICE_ORDER"
_VISIBLE_TO_RANKS: Final = "TRTLLM_VISIBLE_DEVICES"  # variables with this beginning reach the ranks that MPI starts


def visible_devices(engine: str, gpus: Sequence[int], inherited: str | None) -> tuple[str, ...]:
    """What CUDA is to see: `gpus` count among what `inherited`, the server's own CUDA_VISIBLE_DEVICES, leaves to see.

    Raises:
        LaunchError: it leaves fewer.
    """
    if inherited is None:
        return tuple(map(str, gpus))
    left = entries(inherited)
    if missing := [gpu for gpu in gpus if gpu >= len(left)]:
        rule = f"{VISIBLE} = {inherited} leaves {len(left)} to see: must be < {len(left)}"
        raise LaunchError(f"engine {engine}: placement.gpus: GPU {missing[0]}: {rule}")
    return tuple(left[gpu] for gpu in gpus)


def cuda_environment(engine: str, gpus: Sequence[int], inherited: Mapping[str, str]) -> dict[str, str]:
    """Variables for the process of an engine and its ranks; none where no GPUs are chosen.

    CUDA counts from the fastest GPU on unless it is told to count as `nvidia-smi` and NVML do.
    """
    if not gpus:
        return {}
    devices = ",".join(visible_devices(engine, gpus, inherited.get(VISIBLE)))
    return {_ORDER: "PCI_BUS_ID", VISIBLE: devices, _VISIBLE_TO_RANKS: devices}


def entries(variable: str) -> list[str]:
    """As CUDA reads them: those behind one that is no device are not there."""
    entries = []
    for entry in map(str.strip, variable.split(",")):
        if not entry or entry.startswith("-"):
            break
        entries.append(entry)
    return entries

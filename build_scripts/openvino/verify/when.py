"""Whether an engine is compared with transformers: by default where that is cheap; and what need not be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from triton_repo.contract.errors import BuildError

SMALL: Final = 1_000_000_000  # parameters; beyond it, only on request
_BYTES_PER_PARAMETER: Final = 9  # one side at a time: its weights in float32, and as the file has them
_OVERHEAD_BYTES: Final = 1 << 30  # of torch, OpenVINO and their workspaces


def decide(asked: bool | None, parameters: int, available_bytes: int) -> str | None:
    """Why an engine of so many parameters is not compared; None where it is.

    Args:
        asked: True for `--verify`, False for `--no-verify`, None for neither.

    Raises:
        BuildError: it was asked for, and memory does not suffice.
    """
    lacking = lacking_memory(parameters, available_bytes)
    if asked is False:
        return "--no-verify"
    if asked is None and parameters >= SMALL:
        return f"{parameters / 1e9:.1f} billion parameters; --verify does it all the same"
    if lacking and asked:
        raise BuildError(f"--verify: {lacking}")
    return lacking


def lacking_memory(parameters: int, available_bytes: int) -> str | None:
    """Why an engine of so many parameters cannot be run here; None where it can."""
    needed = _OVERHEAD_BYTES + _BYTES_PER_PARAMETER * parameters
    if needed <= available_bytes:
        return None
    return f"that needs about {needed / 1e9:.1f} GB of memory; {available_bytes / 1e9:.1f} GB are free"


def known_wrong(config: Mapping[str, Any]) -> str | None:
    """Why an engine of this `config.json` computes something else, as the comparison of small ones has found.

    `python -m bench.architectures` compares them, and a test holds this to what it found.
    """
    kind = config.get("model_type")
    if kind == "falcon" and config.get("alibi") is True:
        return "alibi = true; OpenVINO's continuous batching loses Falcon's, which has factors of its own"
    if kind == "ernie4_5_moe":
        return "model_type = ernie4_5_moe; its experts are exported wrong"
    return None

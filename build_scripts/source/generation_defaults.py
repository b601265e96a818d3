"""The sampling defaults of generation_config.json, as people write them: numbers out of range are clamped, not errors.

They are defaults, which every request may override: one that no engine can honour must not stop a build.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from triton_repo.contract.sampling import INT32_MAX, Sampling

# Field -> the smallest and largest value that `Sampling` takes. A `top_p` of 0 is meant as the most likely token alone.
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0.0, 2.0),
    "top_p": (1e-6, 1.0),
    "top_k": (0, INT32_MAX),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 2.0),
}


def read_defaults(generation: Mapping[str, Any]) -> tuple[Sampling, list[str]]:
    """The defaults among the values of a generation_config.json, and a note on each that was changed or left out."""
    values, notes = {}, []
    for name, (lowest, highest) in _RANGES.items():
        given = generation.get(name)
        number = _number(given)
        if number is None:
            if given is not None:
                notes.append(f"{name} = {given!r:.40}: left out, it is no number")
            continue
        value = min(max(number, lowest), highest)
        if value != number:
            notes.append(f"{name} = {given!r:.40}: taken as {value:g}; allowed: {lowest:g} … {highest:g}")
        values[name] = int(value) if name == "top_k" else float(value)
    return Sampling.model_validate(values), notes


def _number(value: Any) -> float | None:
    """None for what is no finite number; a number in quotes is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None

"""Rope scaling: as values of the header, or as a table of factors, one for each pair of a head's values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.reading import numbers
from triton_repo.contract.errors import BuildError

LLAMA_3: Final = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
TABLES: Final = (LLAMA_3, LONG, SHORT)
# HuggingFace's names of the values of yarn, and llama.cpp's keys.
_YARN: Final = {
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
    "attention_factor": "yarn_attn_factor",
    "mscale_all_dim": "yarn_log_multiplier",
}
_MAX_FACTORS: Final = 4096
_TOLERANCE: Final = 1e-3  # of a table, which the converters compute in single precision


def rope_scaling(
    meta: Metadata, tensors: Mapping[str, StoredTensor], head_size: int, theta: float
) -> dict[str, Any] | None:
    """HuggingFace's `rope_scaling`, None for none.

    Raises:
        BuildError: a value is missing or not allowed, or a table is none of Llama 3's.
    """
    if LLAMA_3 in tensors:
        return _llama3(factors(tensors[LLAMA_3]), head_size, theta, str(tensors[LLAMA_3].path))
    if LONG in tensors and SHORT in tensors:
        return {"rope_type": "longrope", "long_factor": factors(tensors[LONG]), "short_factor": factors(tensors[SHORT])}
    key = meta.own("rope.scaling.type")
    kind = meta.text(key) or ("linear" if meta.own("rope.scale_linear") in meta.values else "none")
    factor_key = meta.own("rope.scaling.factor")
    if kind == "none":
        return None
    if kind == "linear":
        key = factor_key if factor_key in meta.values else meta.own("rope.scale_linear")
        return {"rope_type": "linear", "factor": meta.number(key)}
    if kind == "yarn":
        return _yarn(meta)
    raise meta.error(key, f"allowed: none, linear, yarn, or longrope with {LONG} and {SHORT}")


def factors(tensor: StoredTensor) -> list[float]:
    return numbers(tensor, _MAX_FACTORS)


def _yarn(meta: Metadata) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": meta.number(meta.own("rope.scaling.factor")),
        "original_max_position_embeddings": meta.count(meta.own("rope.scaling.original_context_length")),
    }
    for name, key in _YARN.items():
        if (full := meta.own(f"rope.scaling.{key}")) in meta.values:
            found[name] = meta.number(full)
    return {**found, "mscale": 1.0} if "mscale_all_dim" in found else found


@dataclass(frozen=True, slots=True)
class _Llama3:
    """Llama 3's rule: short waves stay, long ones are stretched by `factor`, between them it goes gradually."""

    factor: float
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def table(self, frequencies: Sequence[float]) -> list[float]:
        found = []
        for frequency in frequencies:
            turns = self.original * frequency  # within the original context
            smooth = min(1.0, max(0.0, (turns - self.low) / (self.high - self.low)))
            found.append(1 / ((1 - smooth) / self.factor + smooth))
        return found

    @classmethod
    def fitted(cls, factor: float, table: Sequence[float], frequencies: Sequence[float]) -> _Llama3 | None:
        """With `low` at 1, of which only quotients count: between the two, the kept part is linear in the frequency."""
        kept = [(1 / value - 1 / factor) / (1 - 1 / factor) for value in table] if factor > 1 and min(table) > 0 else []
        if not kept:
            return None
        middle = [(one, part) for one, part in zip(frequencies, kept, strict=True) if 0.001 < part < 0.999]
        if len(middle) < 2:
            return None
        (first, upper), (last, lower) = middle[0], middle[-1]
        slope = (upper - lower) / (first - last) if first != last else 0.0  # a base of 1 has one frequency
        offset = upper - slope * first
        if offset >= 0 or slope <= 0:
            return None
        high, original = round(1 - 1 / offset, 4), -slope / offset
        return cls(factor, 1.0, high, max(1, round(original))) if high > 1 and math.isfinite(original) else None

    def to_json(self) -> dict[str, Any]:
        return {
            "rope_type": "llama3",
            "factor": self.factor,
            "low_freq_factor": self.low,
            "high_freq_factor": self.high,
            "original_max_position_embeddings": self.original,
        }


def _llama3(table: Sequence[float], head_size: int, theta: float, where: str) -> dict[str, Any] | None:
    """The parameters that give `table`: those that Meta's models have, or what its middle part says."""
    if all(abs(value - 1) < _TOLERANCE for value in table):
        return None
    if 2 * len(table) != head_size:
        raise BuildError(f"{where}: {LLAMA_3}: {len(table)} factors; must be {head_size // 2}, half the size of a head")
    factor = round(max(table), 4)
    frequencies = [theta ** (-index / head_size) / (2 * math.pi) for index in range(0, head_size, 2)]
    for candidate in (_Llama3(factor), _Llama3.fitted(factor, table, frequencies)) if 0 < factor < math.inf else ():
        if candidate is not None and _alike(candidate.table(frequencies), table):
            return candidate.to_json()
    raise BuildError(f"{where}: {LLAMA_3}: no rope scaling of Llama 3's kind gives these {len(table)} factors")


def _alike(computed: Sequence[float], table: Sequence[float]) -> bool:
    return all(math.isclose(one, other, rel_tol=_TOLERANCE) for one, other in zip(computed, table, strict=True))

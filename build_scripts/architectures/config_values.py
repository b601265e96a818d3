"""`config.json` read with the same care as a spec: a missing or odd value is one sentence with its key."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from build_scripts.architectures.decoder import Rope
from build_scripts.weights.view import WEIGHT_DTYPES
from triton_repo.contract.errors import BuildError

# Kinds of rope scaling that TensorRT-LLM's compiled rope_gpt_neox attention computes, by the keys that they need (yarn
# passes its configuration and is then not computed).
_SCALINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
ROPE_KEYS: Final = ("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor")
_LARGEST: Final = 1 << 31
_LARGEST_FLOAT: Final = sys.float_info.max


@dataclass(frozen=True, slots=True)
class ConfigValues:
    """The values of a `config.json` of the checkpoint `source`."""

    source: str
    values: Mapping[str, Any]

    def error(self, key: str, rule: str) -> BuildError:
        shown = json.dumps(self.values.get(key), default=str)
        return BuildError(f"{self.source}: config.json: {key} = {shown[:80]}; {rule}")

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number ≥ 1; absent or null is `default`, if there is one."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < _LARGEST:
            raise self.error(key, "must be a whole number ≥ 1")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number > 0; absent or null is `default`, if there is one."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not is_positive(value):
            raise self.error(key, "must be a number > 0")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def activation(self) -> str:
        value = self.values.get("hidden_act", "silu")
        if value != "silu":
            raise self.error("hidden_act", "allowed: silu (TensorRT-LLM's gated MLP of these families)")
        return "silu"

    def head_size(self, hidden_size: int, num_heads: int) -> int:
        if self.values.get("head_dim") is None and hidden_size % num_heads:
            rule = f"must be divisible by num_attention_heads ({num_heads}) where head_dim is not given"
            raise self.error("hidden_size", rule)
        return self.count("head_dim", hidden_size // num_heads)

    def dtype(self) -> str:
        """The checkpoint's dtype of the weights; float32 where it has none."""
        key = "dtype" if self.values.get("dtype") is not None else "torch_dtype"
        value = self.values.get(key)
        dtype = "float32" if value is None else str(value).removeprefix("torch.")
        if dtype not in WEIGHT_DTYPES:
            raise self.error(key, f"allowed: {', '.join(WEIGHT_DTYPES)}")
        return dtype

    def rope(self) -> Rope:
        """Of `rope_theta` and `rope_scaling`, or of `rope_parameters`, which transformers writes since 5."""
        key = "rope_parameters" if self.values.get("rope_parameters") is not None else "rope_scaling"
        given = self.values.get(key)
        if given is not None and not isinstance(given, Mapping):
            raise self.error(key, "must be an object or null")
        scaling = dict(given or {})
        theta = scaling.pop("rope_theta", None) or self.number("rope_theta", 10000.0)
        if not is_positive(theta):
            raise self.error(key, "rope_theta must be a number > 0")
        kind = scaling.pop("type", None)
        kind = scaling.pop("rope_type", kind) or "default"
        partial = scaling.pop("partial_rotary_factor", None) or self.values.get("partial_rotary_factor") or 1.0
        if partial != 1.0:
            raise self.error(key, "partial_rotary_factor must be 1: these families rotate whole heads")
        return Rope(float(theta), None if kind == "default" else self._scaling(key, str(kind), scaling))

    def _scaling(self, key: str, kind: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if kind not in _SCALINGS:
            raise self.error(key, f"rope_type {kind}; allowed: default, {', '.join(_SCALINGS)}")
        for needed in _SCALINGS[kind]:
            if not is_positive(values.get(needed)):
                raise self.error(key, f"{needed} must be a number > 0 for rope_type {kind}")
        return {"rope_type": kind, **values}


def is_positive(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST_FLOAT

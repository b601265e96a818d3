"""`config.json` read with the same care as a spec: a missing or odd value is one sentence with its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from build_scripts.weights.view import WEIGHT_DTYPES
from triton_repo.contract.errors import BuildError

_LARGEST: Final = (1 << 31) - 1
MOST_LAYERS: Final = 4096  # each is counted by itself; the deepest models have some hundreds
_FLOAT32: Final = (2.0**-126, (2 - 2.0**-23) * 2.0**127)  # the least normal one and the largest: engines compute in it
_CURE: Final = "with build.flow = pytorch TensorRT-LLM reads the checkpoint itself"


class UnknownArchitecture(BuildError):
    """A model that is not sharded here, but by TensorRT-LLM's own code."""


class NotCompiled(UnknownArchitecture):
    """A model of a known family that TensorRT-LLM's compiled flow does not compute as the checkpoint means it."""


@dataclass(frozen=True, slots=True)
class ConfigValues:
    """The values of a `config.json` of the checkpoint `source`."""

    source: str
    values: Mapping[str, Any]

    def error(self, key: str, rule: str) -> BuildError:
        return BuildError(self._sentence(key, rule))

    def not_compiled(self, key: str, rule: str) -> NotCompiled:
        """The value is sound, and a compiled engine would compute something else."""
        return NotCompiled(f"{self._sentence(key, rule)}; {_CURE}")

    def _sentence(self, key: str, rule: str) -> str:
        shown = json.dumps(self.values.get(key), default=str)
        return f"{self.source}: config.json: {key} = {shown[:80]}; {rule}"

    def count(self, key: str, default: int | None = None, most: int = _LARGEST) -> int:
        """A whole number ≥ 1 and ≤ `most`; absent or null is `default`, if there is one."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.error(key, f"must be a whole number ≥ 1 and ≤ {most}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number > 0; absent or null is `default`, if there is one."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not is_positive(value):
            raise self.error(key, "must be a number > 0 that float32 can hold")
        return float(value)

    def optional_number(self, key: str, default: float | None = None) -> float | None:
        """A number > 0 or None; an absent one is `default`, and null is None."""
        if self.values.get(key, default) is None:
            return None
        return self.number(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def activation(self, key: str, name: str, default: str) -> None:
        """Raises: NotCompiled: the configuration has another activation than `name`."""
        if self.values.get(key, default) != name:
            raise self.not_compiled(key, f"allowed: {name} (TensorRT-LLM's feed-forward block of this family)")

    def must_be_off(self, key: str, why: str) -> None:
        """Raises: NotCompiled: the flag is on."""
        if self.flag(key):
            raise self.not_compiled(key, f"allowed: false ({why})")

    def head_size(self, hidden_size: int, num_heads: int, default: int | None = None) -> int:
        """`default` is the family's own where `head_dim` is absent; None: an even share of the hidden size."""
        if self.values.get("head_dim") is None and default is None and hidden_size % num_heads:
            rule = f"must be divisible by num_attention_heads ({num_heads}) where head_dim is not given"
            raise self.error("hidden_size", rule)
        return self.count("head_dim", default or hidden_size // num_heads)

    def dtype(self) -> str:
        """The checkpoint's dtype of the weights; float32 where it has none."""
        key = "dtype" if self.values.get("dtype") is not None else "torch_dtype"
        value = self.values.get(key)
        dtype = "float32" if value is None else str(value).removeprefix("torch.")
        if dtype not in WEIGHT_DTYPES:
            raise self.error(key, f"allowed: {', '.join(WEIGHT_DTYPES)}")
        return dtype


def is_positive(value: object) -> TypeGuard[float]:
    """A number > 0 that float32 holds in full precision."""
    least, largest = _FLOAT32
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= largest

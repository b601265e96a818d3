"""The values of a GGUF header, read with the same care as a spec: a missing or odd one is one sentence with its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from triton_repo.contract.errors import BuildError

MOST_LAYERS: Final = 4096  # the largest models have some hundreds
_LARGEST: Final = 1 << 31
_SMALLEST_FLOAT, _LARGEST_FLOAT = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class Metadata:
    """The values of the file `where`."""

    where: str
    values: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Of llama.cpp: llama, qwen2, …"""
        return self.required_text("general.architecture")

    def error(self, key: str, rule: str) -> BuildError:
        shown = repr(self.values[key])[:80] if key in self.values else "missing"
        return BuildError(f"{self.where}: {key} = {shown}; {rule}")

    def own(self, key: str) -> str:
        """The key `key` of this file's architecture: `llama.block_count`."""
        return f"{self.architecture}.{key}"

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number ≥ 1; absent is `default`, if there is one. A list, of a number a layer, is one if all are."""
        value = self.values.get(key)
        if isinstance(value, list) and 0 < len(value) <= MOST_LAYERS and value.count(value[0]) == len(value):
            value = value[0]
        if value is None and default is not None:
            return default
        if type(value) is not int or not 1 <= value < _LARGEST:
            raise self.error(key, "must be a whole number ≥ 1, the same for all layers")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number > 0, of a size whose powers are numbers too; absent is `default`, if there is one."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not _is_finite(value) or not _SMALLEST_FLOAT <= value <= _LARGEST_FLOAT:
            raise self.error(key, f"must be a number > 0, {_SMALLEST_FLOAT} … {_LARGEST_FLOAT}")
        return _shortest(float(value))

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is not None and type(value) is not bool:
            raise self.error(key, "must be true or false")
        return default if value is None else value

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "must be text")
        return value

    def required_text(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise self.error(key, "must be text")
        return value

    def texts(self, key: str) -> list[str] | None:
        value = self.values.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
            raise self.error(key, "must be an array of texts")
        return value

    def numbers(self, key: str, length: int) -> list[float] | None:
        """An array of at least `length` numbers, of which the first `length` count."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) < length or not all(map(_is_finite, value[:length])):
            raise self.error(key, f"must be an array of {length} numbers")
        return value[:length]

    def required_numbers(self, key: str, length: int) -> list[float]:
        found = self.numbers(key, length)
        if found is None:
            raise self.error(key, f"must be an array of {length} numbers")
        return found

    def finite(self, key: str) -> float:
        """Any number but infinity and NaN; the key is there."""
        value = self.values[key]
        if not _is_finite(value):
            raise self.error(key, "must be a number")
        return value if type(value) is int else _shortest(value)

    def token_id(self, key: str, size: int) -> int | None:
        """An id in a vocabulary of `size` tokens. Files mark an absent one by a number that is none."""
        value = self.values.get(key)
        return value if type(value) is int and 0 <= value < size else None


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shortest(value: float) -> float:
    """Most are stored in 32 bits; 1e-05 is then 9.999999747378752e-06, and 1e-05 is what was meant."""
    import numpy as np

    short = float(str(np.float32(value)))
    return short if np.float32(short) == np.float32(value) and float(np.float32(value)) == value else value

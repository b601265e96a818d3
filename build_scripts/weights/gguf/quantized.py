"""The types of a GGUF file's tensors, and their values, read a few rows at a time.

F32, F16 and BF16 stay as they are, and BF16 holds MXFP4. Every other type becomes float32, in which llama.cpp itself
defines it: a value is a product of a scale of 16 bits and an integer of up to 8, often plus a minimum, and fits no half
precision. So the copy is exactly what the file says; what an engine is served in is decided later, by `build.dtype` and
`build.quantization`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from build_scripts.weights.rows import FileRows
from triton_repo.contract.distribution import install_command
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TypeOfValues:
    """How values are stored: `block` of them take `block_bytes`."""

    number: int
    name: str
    block: int
    block_bytes: int
    dtype: str


REMOVED_TYPES: Final[Mapping[int, str]] = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}  # fmt: skip
_PLAIN: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_EXACT: Final = {"MXFP4": "bfloat16"}  # four bits times a power of two
# Those that the `gguf` package dequantizes; the suite compares the list with the package's.
_QUANTIZED: Final = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS",
)  # fmt: skip


@cache
def known_types() -> Mapping[int, TypeOfValues]:
    """Number of a type in the file -> the type, of all that can be weights here.

    Raises:
        BuildError: the `gguf` package is not installed.
    """
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise BuildError(f"GGUF files need the package gguf: {install_command('build', 'openvino')}") from error
    found = {}
    for name in (*_PLAIN, *_QUANTIZED):
        kind = GGMLQuantizationType[name]
        dtype = _PLAIN.get(name) or _EXACT.get(name, "float32")
        found[int(kind)] = TypeOfValues(int(kind), name, *GGML_QUANT_SIZES[kind], dtype)
    return found


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Consecutive rows of a matrix of `columns` values, from byte `offset` on. The reader of a LazyTensor."""

    path: Path
    offset: int
    type: TypeOfValues
    columns: int

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        """Raises: OSError: the file has become shorter."""
        import numpy as np
        import torch
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize

        if start == stop:  # which the package does not take
            return torch.empty((0, self.columns), dtype=getattr(torch, self.type.dtype))
        row_bytes = self.columns // self.type.block * self.type.block_bytes
        stored = FileRows(self.path, self.offset, "uint8", (row_bytes,), row_bytes)(start, stop)
        with np.errstate(all="ignore"):  # a broken scale gives infinity, which the export finds and names
            values = dequantize(stored.numpy(), GGMLQuantizationType(self.type.number))
        read = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).reshape(stop - start, self.columns)
        return read.to(getattr(torch, self.type.dtype))

"""LoRA adapters for an exported model: their matrices under the names of its operations, as OpenVINO GenAI finds them.

GenAI (2026.4) adapts every operation in whose name that of a matrix occurs, knows no scale but one of a whole adapter,
and leaves out what it does not find. So here each layer is matched with its one operation, the scale is multiplied into
the matrix, and what does not fit is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from build_scripts.sizing.matrix_products import matrix_products
from build_scripts.source.lora.peft import AdaptedLayer
from build_scripts.weights.rows import FileRows
from build_scripts.weights.safetensors import header_bytes
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

_ROOT: Final = "__module."  # begins the names of all operations that come of a module
_PREFIX: Final = "base_model.model."  # which GenAI takes off again


def write_fitted(layers: Mapping[str, AdaptedLayer], model: Path, output: Path) -> None:
    """Write an adapter for the model in the directory `model` to the file `output`.

    Raises:
        BuildError: the model has no such layer, or one of another shape; or a value is no finite float32.
    """
    operations = matrix_products(model / "openvino_model.xml")
    tensors: dict[str, NDArray[np.float32]] = {}
    for module, layer in layers.items():
        name = f"{_PREFIX}{_operation_of(module, layer, operations)}"
        tensors[f"{name}.lora_A.weight"] = _values(layer.down)
        tensors[f"{name}.lora_B.weight"] = _values(layer.up, layer.scale)
    header, _ = header_bytes({name: ("float32", tensor.shape) for name, tensor in tensors.items()})
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as file:
        file.write(header)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).tobytes())


def _operation_of(module: str, layer: AdaptedLayer, operations: Mapping[str, tuple[int, int]]) -> str:
    found = [name for name in operations if name.startswith(f"{_ROOT}{module}/")]
    if len(found) != 1:
        raise BuildError(f"its layer {module} is no linear layer of this model as it is exported")
    [name] = found
    shape = (layer.up.shape[0], layer.down.shape[1])
    if operations[name] != shape:
        fits, has = (" × ".join(map(str, each)) for each in (shape, operations[name]))
        raise BuildError(f"its layer {module} is for one of {fits} (out × in); this model's is {has}")
    if sum(name in other for other in operations) != 1:
        raise BuildError(f"its layer {module} has a name that begins that of another one")
    return name


def _values(tensor: LazyTensor, scale: float = 1.0) -> NDArray[np.float32]:
    """Read without torch, whose import takes longer than all of this."""
    place = tensor.reader
    if not isinstance(place, FileRows):
        raise TypeError(f"{tensor.name} is not in a safetensors file")
    is_bfloat16 = tensor.dtype == "bfloat16"
    dtype: Any = np.uint16 if is_bfloat16 else tensor.dtype
    values = np.fromfile(place.path, dtype, math.prod(tensor.shape), offset=place.offset).reshape(tensor.shape)
    floats = (values.astype(np.uint32) << 16).view(np.float32) if is_bfloat16 else values.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = floats * np.float32(scale)
    if not np.isfinite(scaled).all():
        of = "" if scale == 1 else f" times its scale, {scale:g},"
        raise BuildError(f"its tensor {tensor.name}{of} has values that are no finite numbers")
    return scaled

"""Whether a checkpoint says that its weights are quantized: each tool has written it in a place of its own.

A reader that overlooks it takes the numbers that are stored for the weights, without their scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.strict_json import parse_object

MODELOPT_CONFIG: Final = "hf_quant_config.json"  # of NVIDIA's quantizer
# Beside a config.json that says nothing: the files of AutoGPTQ and AutoAWQ, and the `quant_method` of each.
_METHOD_FILES: Final[Mapping[str, str]] = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
# Keys of config.json: HuggingFace's, that of the first compressed-tensors, and MLX's.
_KEYS: Final = ("quantization_config", "compression_config", "quantization")
QUANTIZATION_FILES: Final = (MODELOPT_CONFIG, *_METHOD_FILES)


def quantization_of(directory: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is said of it, with a `quant_method` or ModelOpt's `quant_algo`; None for full precision.

    Raises:
        BuildError: a file that says it is no JSON object.
    """
    found = _section(directory, config)
    of_the_cache_alone = found is not None and "quant_algo" in found and not found["quant_algo"]
    return None if of_the_cache_alone else found


def name_of(section: Mapping[str, Any]) -> str:
    """For people: `fp8`, `gptq`, or ModelOpt's `nvfp4`."""
    return str(section.get("quant_algo") or section["quant_method"]).lower()


def _section(directory: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    if modelopt := _read(directory / MODELOPT_CONFIG).get("quantization"):
        return _named(modelopt, "modelopt")
    is_mlx = isinstance(config.get("quantization"), Mapping)
    for key in _KEYS:
        if config.get(key):
            return _named(config[key], "mlx" if is_mlx else "of an unknown kind")
    for name, method in _METHOD_FILES.items():
        if (directory / name).is_file():
            return _named(_read(directory / name), method)
    return None


def _named(section: object, method: str) -> dict[str, Any]:
    values = dict(section) if isinstance(section, Mapping) else {"quant_method": section}
    return values if values.get("quant_method") or values.get("quant_algo") else {**values, "quant_method": method}


def _read(file: Path) -> dict[str, Any]:
    return parse_object(file.read_bytes(), str(file)) if file.is_file() else {}

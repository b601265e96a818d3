"""How large a checkpoint's weights are, and who reads them, where they are quantized already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.source.checkpoint import Checkpoint
from build_scripts.source.quantized import name_of, quantization_of
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS, Quantization

# `quant_method` of HuggingFace's formats that are of one width. (An fp8 checkpoint has a scale for each block.)
_METHODS: Final[Mapping[str, Quantization]] = {
    "fp8": Quantization("fp8", 8, capability=(8, 9), cards="L4, L40S, H100 and later"),
    "fbgemm_fp8": Quantization("fbgemm_fp8", 8, capability=(8, 9), cards="L4, L40S, H100 and later"),
    "mxfp4": Quantization("mxfp4", 4, group=32, scale_bytes=1, capability=(9, 0), cards="H100 and later"),
    "awq": Quantization("awq", 4, group=128),
    "gptq": Quantization("gptq", 4, group=128),
    "bitsandbytes": Quantization("bitsandbytes", 8),
    "compressed-tensors": Quantization("compressed-tensors", 8),
    "mlx": Quantization("mlx", 4, group=64, scale_bytes=4),  # a scale and an offset
}
# What the loader of TensorRT-LLM 1.2 names (llmapi/llm_utils.py, `_update_from_hf_quant_config`): block-scaled fp8,
# mxfp4 and ModelOpt's formats. For another it raises NotImplementedError.
_READ: Final = frozenset({"fp8", "mxfp4", "modelopt"})
_BLOCK: Final = [128, 128]  # `weight_block_size` of fp8; with another it stops, without any it overlooks the scales
_BITS: Final = (2, 3, 4, 6, 8)
_WIDTHS: Final = ("num_bits", "bits", "w_bit")
_KV_BITS: Final = {"FP8": 8, "INT8": 8, "NVFP4": 4}


@dataclass(frozen=True, slots=True)
class Stored:
    """Weights as they lie in a checkpoint.

    Attributes:
        name: for people: `fp8`, `awq`, or ModelOpt's `nvfp4`.
        how: their sizes; None where they are not known.
        readable: TensorRT-LLM's PyTorch flow (1.2) reads the format.
        plain_attention: attention is not quantized.
        kv_bits: of a value in the KV cache, where the checkpoint says so.
    """

    name: str
    how: Quantization | None
    readable: bool
    plain_attention: bool = False
    kv_bits: int | None = None


def stored_quantization(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Stored | None:
    """None for full precision. Raises: BuildError: ModelOpt's file is no JSON object."""
    values = quantization_of(checkpoint.directory, config)
    if values is None:
        return None
    if values.get("quant_algo") or values.get("quant_method") == "modelopt":
        return _of_modelopt(values)
    return _of_method(values)


def _of_modelopt(values: Mapping[str, Any]) -> Stored:
    algorithm = str(values.get("quant_algo")).upper()
    known = {how.algorithm: (name, how) for name, how in QUANTIZATIONS.items() if how.algorithm is not None}
    name, how = known.get(algorithm, (algorithm.lower(), None))
    if algorithm == "FP8_PB_WO":
        how = _METHODS["fp8"]
    kv = _KV_BITS.get(str(values.get("kv_cache_quant_algo")).upper())
    scheme = values.get("kv_cache_scheme")
    if kv is None and isinstance(scheme, dict) and scheme.get("num_bits") in _KV_BITS.values():
        kv = scheme["num_bits"]
    return Stored(name, how, True, _leaves_attention(values), kv)


def _of_method(values: Mapping[str, Any]) -> Stored:
    method = name_of(values)
    how = _METHODS.get(method)
    if how is not None:
        how = _with_sizes(how, values)
    in_blocks = method != "fp8" or values.get("weight_block_size") == _BLOCK
    return Stored(method, how, method in _READ and in_blocks, _leaves_attention(values))


def _with_sizes(how: Quantization, values: Mapping[str, Any]) -> Quantization:
    """The width and the group that the section says."""
    inner = _first_group(values) or values
    bits = next((inner[key] for key in _WIDTHS if inner.get(key)), 4 if values.get("load_in_4bit") else how.bits)
    group = inner.get("group_size") or inner.get("q_group_size")
    return Quantization(
        how.algorithm,
        bits if bits in _BITS else how.bits,
        group if isinstance(group, int) and group > 0 else how.group,
        how.scale_bytes,
        how.capability,
        how.cards,
    )


def _first_group(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    groups = values.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    return weights if isinstance(weights, dict) else None


def _leaves_attention(values: Mapping[str, Any]) -> bool:
    """Whether the modules that stay as they are have every layer's attention among them."""
    for key in ("exclude_modules", "ignore", "modules_to_not_convert"):
        listed = values.get(key)
        for pattern in listed if isinstance(listed, list) else ():
            if "self_attn" in str(pattern) and not any(letter.isdigit() for letter in str(pattern)):
                return True
    attention = [
        key for key in ("exclude_modules", "ignore", "modules_to_not_convert") if _names_attention(values, key)
    ]
    return bool(attention)


def _names_attention(values: Mapping[str, Any], key: str) -> bool:
    """ModelOpt names each layer's: more than a few of them are all."""
    listed = values.get(key)
    return isinstance(listed, list) and sum("self_attn" in str(name) for name in listed) >= 8

"""Which tensor- and pipeline-parallel sizes a model can be split into: TensorRT-LLM's own rules, asked beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from build_scripts.architectures import Decoder
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from triton_repo.contract.errors import BuildError

LARGEST_TP: Final = 64
# Of TensorRT-LLM's attention kernel (MMHA_SUPPORTED_HEAD_SIZES, decoderMaskedMultiheadAttentionDispatch; the same in
# every version that was seen, 0.17 to 1.3).
_HEAD_SIZES: Final = (32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256)


def check_head_size(head_size: int, source: str) -> None:
    """Raises: BuildError: TensorRT-LLM's attention, in either flow, has no kernel for it."""
    if head_size not in _HEAD_SIZES:
        raise BuildError(
            f"{source}: config.json: heads of {head_size} values; TensorRT-LLM's attention has {listed(_HEAD_SIZES)}"
        )


def check_parallelism(decoder: Decoder, parallel: Parallelism, origin: str) -> None:
    """Whether `decoder` can be split by `parallel`, which the spec or flags `origin` ask for.

    Raises:
        SpecError: names the rule that is broken and the sizes that are allowed.
    """
    rule = broken_tp_rule(decoder, parallel.tp_size)
    if rule is not None:
        allowed = listed(allowed_tp_sizes(decoder))
        raise spec_error(origin, "build.tensor_parallel", parallel.tp_size, f"{rule}; allowed: {allowed}")
    if parallel.pp_size > decoder.num_layers:
        rule = f"must be ≤ {decoder.num_layers}, the model's layers: each pipeline rank needs one"
        raise spec_error(origin, "build.pipeline_parallel", parallel.pp_size, rule)


def allowed_tp_sizes(decoder: Decoder, largest: int = LARGEST_TP) -> list[int]:
    """The tensor-parallel sizes up to `largest` that `decoder` can be split into."""
    return [size for size in range(1, largest + 1) if broken_tp_rule(decoder, size) is None]


def broken_tp_rule(decoder: Decoder, tp_size: int) -> str | None:
    """Why `decoder` cannot be split into `tp_size`, as a rule for that number."""
    if decoder.num_heads % tp_size:
        return f"must divide the {decoder.num_heads} attention heads"
    kv_heads = decoder.num_kv_heads
    if kv_heads % tp_size and tp_size % kv_heads:
        return f"must divide the {kv_heads} kv heads, or be a multiple of them (each is then copied to several ranks)"
    if decoder.intermediate_size % tp_size:
        return f"must divide intermediate_size ({decoder.intermediate_size})"
    return None


def listed(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sizes))

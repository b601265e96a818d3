"""The rules of tensor parallelism that hold for every architecture, and the head sizes that attention has."""

from __future__ import annotations

from build_scripts.sizing import ModelShape
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.sharding.limits import LARGEST_TP, check_head_size, listed
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism


def check_split(shape: ModelShape, parallel: Parallelism, origin: str, source: str) -> None:
    """Raises: SpecError: names the rule that is broken and what is allowed. BuildError: of the head size."""
    check_head_size_of(shape, source)
    rule = broken_rule(shape, parallel.tp_size)
    if rule is not None:
        allowed = listed(allowed_sizes(shape))
        raise spec_error(origin, "build.tensor_parallel", parallel.tp_size, f"{rule}; allowed: {allowed}")
    if parallel.pp_size > len(shape.layers):
        rule = f"must be ≤ {len(shape.layers)}, the model's layers: each pipeline rank needs one"
        raise spec_error(origin, "build.pipeline_parallel", parallel.pp_size, rule)


def allowed_sizes(shape: ModelShape, largest: int = LARGEST_TP) -> list[int]:
    return [size for size in range(1, largest + 1) if broken_rule(shape, size) is None]


def broken_rule(shape: ModelShape, tp_size: int) -> str | None:
    """Why the model cannot be split into `tp_size`, as a rule for that number."""
    if shape.num_heads % tp_size:
        return f"must divide the {shape.num_heads} attention heads"
    kv_heads = shape.num_kv_heads
    if not shape.low_rank and kv_heads % tp_size and tp_size % kv_heads:
        return f"must divide the {kv_heads} kv heads, or be a multiple of them (each is then copied to several ranks)"
    if shape.intermediate_size % tp_size:
        return f"must divide intermediate_size ({shape.intermediate_size})"
    return None


def check_head_size_of(shape: ModelShape, source: str) -> None:
    """Raises: BuildError: of attention that keeps keys and values of heads; that of low rank has kernels of its own."""
    if not shape.low_rank and any(layer.cache.values_per_token for layer in shape.layers):
        check_head_size(shape.head_size, source)

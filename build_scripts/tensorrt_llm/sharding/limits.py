"""How a model can be split: TensorRT-LLM's own rules, asked beforehand, and what its compiled models lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from build_scripts.architectures import Decoder
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.trtllm_config import has_pipeline
from triton_repo.contract.errors import BuildError

LARGEST_TP: Final = 64
# Of TensorRT-LLM's attention kernel (MMHA_SUPPORTED_HEAD_SIZES, decoderMaskedMultiheadAttentionDispatch; the same in
# every version that was seen, 0.17 to 1.3).
_HEAD_SIZES: Final = (32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256)
_CAPPED_HEAD_SIZES: Final = (128, 256)  # of those, with bounded scores (fmha_v2_…_softcapping)


def check_head_size(head_size: int, source: str, *, capped: bool = False) -> None:
    """Raises: BuildError: TensorRT-LLM's attention, in either flow, has no kernel for it."""
    allowed = _CAPPED_HEAD_SIZES if capped else _HEAD_SIZES
    if head_size not in allowed:
        kind = " with bounded scores (attn_logit_softcapping)" if capped else ""
        raise BuildError(
            f"{source}: config.json: heads of {head_size} values; TensorRT-LLM's attention{kind} has {listed(allowed)}"
        )


def check_parallelism(decoder: Decoder, parallel: Parallelism, origin: str) -> None:
    """Whether `decoder` can be split by `parallel`, which the spec or flags `origin` ask for.

    Raises:
        SpecError: names the rule that is broken and the sizes that are allowed.
    """
    rule = _broken_ep_rule(decoder, parallel.moe_ep_size)
    if rule is not None:
        raise spec_error(origin, "build.moe_expert_parallel", parallel.moe_ep_size, rule)
    rule = broken_tp_rule(decoder, parallel.tp_size, parallel.moe_ep_size)
    if rule is not None:
        allowed = listed(allowed_tp_sizes(decoder, moe_ep_size=parallel.moe_ep_size))
        raise spec_error(origin, "build.tensor_parallel", parallel.tp_size, f"{rule}; allowed: {allowed}")
    if most_stages(decoder, parallel.pp_size) == 1 < min(parallel.pp_size, decoder.num_layers):
        rule = f"must be 1: TensorRT-LLM's model of {decoder.architecture} has no pipeline stages"
        raise spec_error(origin, "build.pipeline_parallel", parallel.pp_size, rule)
    if parallel.pp_size > decoder.num_layers:
        rule = f"must be ≤ {decoder.num_layers}, the model's layers: each pipeline rank needs one"
        raise spec_error(origin, "build.pipeline_parallel", parallel.pp_size, rule)


def allowed_tp_sizes(decoder: Decoder, largest: int = LARGEST_TP, moe_ep_size: int = 1) -> list[int]:
    """The tensor-parallel sizes up to `largest` that `decoder` can be split into."""
    return [size for size in range(1, largest + 1) if broken_tp_rule(decoder, size, moe_ep_size) is None]


def most_stages(decoder: Decoder, ranks: int) -> int:
    """Into how many pipeline stages `decoder` can be split over so many ranks, of which each stage needs one."""
    return min(decoder.num_layers, ranks) if has_pipeline(decoder) else 1


def broken_tp_rule(decoder: Decoder, tp_size: int, moe_ep_size: int = 1) -> str | None:
    """Why `decoder` cannot be split into `tp_size`, as a rule for that number."""
    if decoder.num_heads % tp_size:
        return f"must divide the {decoder.num_heads} attention heads"
    kv_heads = decoder.num_kv_heads
    if kv_heads % tp_size and tp_size % kv_heads:
        return f"must divide the {kv_heads} kv heads, or be a multiple of them (each is then copied to several ranks)"
    if tp_size % moe_ep_size:
        return f"must be a multiple of build.moe_expert_parallel ({moe_ep_size})"
    widths = _widths(decoder, tp_size, moe_ep_size)
    return next((f"must divide {name} ({width})" for name, width, ranks in widths if width % ranks), None)


def _widths(decoder: Decoder, tp_size: int, moe_ep_size: int) -> Iterator[tuple[str, int, int]]:
    """What is split into how many: the rows of feed-forward blocks, by the names that people know them by."""
    if decoder.experts is None:
        yield "intermediate_size", decoder.intermediate_size, tp_size
        return
    times = "" if moe_ep_size == 1 else f" times build.moe_expert_parallel ({moe_ep_size})"
    yield f"the size of an expert{times}", decoder.experts.size, tp_size // moe_ep_size
    yield "shared_expert_intermediate_size", decoder.experts.shared_size, tp_size


def _broken_ep_rule(decoder: Decoder, moe_ep_size: int) -> str | None:
    if moe_ep_size == 1:
        return None
    if decoder.experts is None:
        return f"must be 1: {decoder.architecture} has no experts"
    if decoder.experts.count % moe_ep_size:
        return f"must divide the {decoder.experts.count} experts"
    return None


def check_adapters(decoder: Decoder, target_modules: Iterable[str], origin: str) -> None:
    """Whether a compiled engine of `decoder` has these modules by themselves, so that an adapter can change one.

    Phi-3's q, k and v are one module there, and so are gate and up; Nemotron's feed-forward block and experts have
    other names (`trtllm_modules_to_hf_modules` of models/{phi3,gpt}/model.py, lora_helper.py).

    Raises:
        SpecError: names those that it has not.
    """
    lacks: frozenset[str] = frozenset()
    if decoder.fused:
        lacks = frozenset({"attn_q", "attn_k", "attn_v", "mlp_h_to_4h", "mlp_gate"})
    elif decoder.experts is not None or not decoder.gated:
        lacks = frozenset({"mlp_h_to_4h", "mlp_gate", "mlp_4h_to_h"})
    if wrong := [module for module in target_modules if module in lacks]:
        rule = f"a compiled {decoder.architecture} has no such modules: remove them, or take build.flow = pytorch"
        raise spec_error(origin, "build.lora.target_modules", ", ".join(wrong), rule)


def listed(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sizes))

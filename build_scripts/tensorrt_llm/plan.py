"""A spec of runtime tensorrt_llm and its checkpoint: what can be checked before weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from build_scripts.architectures import UnknownArchitecture, check_weights, decoder_of, without_rope
from build_scripts.architectures.config_values import ConfigValues
from build_scripts.engine.builder import Fit
from build_scripts.sizing.reading import is_known
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.source.draft import Draft
from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.argv import CONVERTER_KEYS
from build_scripts.tensorrt_llm.converter_models import CONVERTED
from build_scripts.tensorrt_llm.fitting.memory import Weights
from build_scripts.tensorrt_llm.fitting.stored import Stored
from build_scripts.tensorrt_llm.sharding.adapter_cache import AdapterBounds
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.limits import broken_tp_rule, check_adapters, check_head_size
from build_scripts.tensorrt_llm.sharding.memory import RESERVE_BYTES, Limits
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.plan import Asked, ShardPlan, make_shard_plan
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS
from build_scripts.weights.huggingface import open_weights, read_config, weight_files
from build_scripts.weights.view import ITEM_SIZES
from triton_repo.contract.engine_config import KV_CACHE_FREE_GPU_MEMORY_FRACTION, Flow
from triton_repo.contract.errors import BuildError


def resolved(spec: EngineSpec, checkpoint: Checkpoint, max_seq_len: int) -> EngineSpec:
    """The spec with the values that it leaves to the checkpoint: `max_seq_len`, and `dtype` (float16 for float32).

    Raises:
        BuildError: the checkpoint's dtype is not supported.
    """
    dtype = spec.build.dtype if "dtype" in spec.build.model_fields_set else _served_dtype(checkpoint)
    return spec.model_copy(update={"build": spec.build.model_copy(update={"dtype": dtype, "max_seq_len": max_seq_len})})


def _served_dtype(checkpoint: Checkpoint) -> str:
    stored = ConfigValues(checkpoint.source, read_config(checkpoint.directory, checkpoint.source)).dtype()
    return "bfloat16" if stored == "bfloat16" else "float16"


def plan_shards(request: Asked, checkpoint: Checkpoint, gpus: Gpus | None, flow: Flow) -> ShardPlan:
    """Check the split against the configuration, against the weights' headers where they are here, and against `gpus`.

    The PyTorch flow is TensorRT-LLM's own code: only how it splits a model is checked here, not what it computes.

    Raises:
        UnknownArchitecture: TensorRT-LLM's own code must do this one.
        NotCompiled: a compiled engine would compute something else.
        BuildError: the configuration or a header is broken, or they contradict each other.
        SpecError: the model cannot be split as the spec asks, or does not fit.
    """
    config = read_config(checkpoint.directory, checkpoint.source)
    decoder = decoder_of(config if flow == "compiled" else without_rope(config), checkpoint.source)
    capped = decoder.scales.attention_cap is not None
    check_head_size(decoder.head_size, checkpoint.source, capped=capped and flow == "compiled")
    if flow == "compiled" and request.limits.adapters is not None:
        check_adapters(decoder, request.limits.adapters.target_modules, request.origin)
    if has_weights(checkpoint.directory):
        weights = open_weights(checkpoint.directory, checkpoint.source)
        if flow == "compiled":  # the other one reads quantized weights too, under names of their own
            check_weights(decoder, weights, checkpoint.source)
    return make_shard_plan(decoder, request, gpus)


def stored_weights(request: Asked, stored: Stored | None) -> Weights:
    """How the weights of `request` lie on the GPU."""
    return Weights(ITEM_SIZES[request.dtype], request.how, stored is not None and stored.plain_attention)


def asked(  # noqa: PLR0913, PLR0917 - all that a plan depends on
    spec: EngineSpec, checkpoint: Checkpoint, stored: Stored | None, origin: str, max_seq_len: int, fit: Fit
) -> Asked:
    """What `spec`, resolved, asks for. Raises: BuildError: a compiled engine of weights that are quantized already."""
    build = spec.build
    if build.flow == "compiled" and stored is not None:
        cure = "build.flow = pytorch runs it as it is; a compiled engine is made of full precision"
        raise BuildError(f"{checkpoint.source}: already quantized ({stored.name}): {cure}")
    quantization: str = build.quantization
    how = QUANTIZATIONS[quantization]
    value_bytes = ITEM_SIZES[build.dtype]
    if stored is not None:
        quantization, how = stored.name, stored.how or QUANTIZATIONS["none"]
    limits = Limits(
        max_seq_len,
        build.max_batch_size,
        build.max_num_tokens,
        (stored.kv_bits if stored else None) or 8 * value_bytes,
        value_bytes,
        tokens_per_block=build.compile.tokens_per_block,
        kv_fraction=spec.serve.kv_cache_free_gpu_memory_fraction or KV_CACHE_FREE_GPU_MEMORY_FRACTION,
        adapters=_adapters(spec),
        reserve_bytes=RESERVE_BYTES if fit.reserve_bytes is None else fit.reserve_bytes,
    )
    parallel = split_of(build)
    config = read_config(checkpoint.directory, checkpoint.source)
    notes = tuple(_notes(checkpoint.source, config, stored))
    return Asked(origin, parallel, build.dtype, quantization, how, limits, notes)


def split_of(build: BuildSection) -> Parallelism:
    """How the ranks that `build` asks for share a model."""
    split = (build.tensor_parallel, build.pipeline_parallel, build.gpus_per_node, build.moe_expert_parallel)
    return Parallelism(*split)


def _notes(source: str, config: Mapping[str, Any], stored: Stored | None) -> Iterator[str]:
    """What a person must know to read the figures."""
    if stored is not None and stored.how is None:
        yield f"{source}: weights in {stored.name}: how much memory they take is not known here"
    if stored is not None and not stored.readable:
        read = "fp8 with scales of blocks, mxfp4 and the formats of ModelOpt"
        yield f"{source}: TensorRT-LLM 1.2 names {read} as what it reads, and not {stored.name}"
    if not is_known(config):
        yield f"{source}: model_type {config.get('model_type')} is not known: its sizes are counted as Llama's"


def _adapters(spec: EngineSpec) -> AdapterBounds | None:
    lora = spec.build.lora
    if lora is None:
        return None
    return AdapterBounds(lora.room, lora.max_rank, lora.target_modules, spec.build.flow == "pytorch")


def check_converter(spec: EngineSpec, origin: str, architecture: str) -> None:
    """Raises: SpecError: TensorRT-LLM's own converter does not know the architecture, or the spec asks for too much."""
    if spec.build.flow == "pytorch":
        return
    if architecture not in CONVERTED:
        rule = f"must be pytorch for {architecture}: neither Conch nor TensorRT-LLM 1.2 compiles this architecture"
        raise spec_error(origin, "build.flow", spec.build.flow, rule)
    if spec.build.moe_expert_parallel != 1:
        rule = "must be 1 for this architecture, which TensorRT-LLM's own converter splits"
        raise spec_error(origin, "build.moe_expert_parallel", spec.build.moe_expert_parallel, rule)
    for key, section in (("build.lora", spec.build.lora), ("speculative", spec.speculative)):
        if section is not None:
            rule = "needs build.flow = pytorch for this architecture: remove the table"
            raise spec_error(origin, key, "[…]", rule)
    if spec.build.quantization != "none":  # such shards go through `trtllm-build`, which takes every key
        return
    for key, value in spec.build.compile.model_dump(exclude_defaults=True).items():
        if key not in CONVERTER_KEYS:
            rule = "is not possible for this architecture, which TensorRT-LLM's own converter compiles: remove the key"
            raise spec_error(origin, f"build.compile.{key}", value, rule)


def has_weights(directory: Path) -> bool:
    """A plan can be made of a config.json alone."""
    return bool(weight_files(directory))


def check_draft_split(draft: Draft, tp_size: int) -> None:
    """A draft is split as its model is. Raises: SpecError: this one cannot be split so."""
    try:
        config = read_config(draft.checkpoint.directory, draft.checkpoint.source)
        decoder = decoder_of(without_rope(config), draft.checkpoint.source)
    except UnknownArchitecture:  # TensorRT-LLM's own code splits it
        return
    if (rule := broken_tp_rule(decoder, tp_size)) is not None:
        raise draft.error(f"build.tensor_parallel = {tp_size} {rule} of the draft")

"""A spec of runtime tensorrt_llm and its checkpoint: what can be checked before weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.architectures import UnknownArchitecture, check_weights, decoder_of, without_rope
from build_scripts.architectures.config_values import ConfigValues
from build_scripts.source.checkpoint import MODELOPT_CONFIG, Checkpoint
from build_scripts.source.draft import Draft
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.argv import CONVERTER_KEYS
from build_scripts.tensorrt_llm.sharding.adapter_cache import AdapterBounds
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.limits import broken_tp_rule
from build_scripts.tensorrt_llm.sharding.memory import Limits
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.plan import Asked, ShardPlan, make_shard_plan
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS
from build_scripts.weights.huggingface import open_weights, read_config, weight_files
from build_scripts.weights.strict_json import parse_object
from build_scripts.weights.view import ITEM_SIZES
from triton_repo.contract.engine_config import KV_CACHE_FREE_GPU_MEMORY_FRACTION

_BY_ALGORITHM: Final = {how.algorithm: name for name, how in QUANTIZATIONS.items() if how.algorithm is not None}


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


def plan_shards(
    spec: EngineSpec, checkpoint: Checkpoint, origin: str, max_seq_len: int, gpus: Gpus | None
) -> ShardPlan:
    """Check the spec against the configuration, against the weights' headers where they are here, and against `gpus`.

    The PyTorch flow is TensorRT-LLM's own code: only how it splits a model is checked here, not what it computes.

    Raises:
        UnknownArchitecture: TensorRT-LLM's own converter must do this one.
        BuildError: the configuration or a header is broken, or they contradict each other.
        SpecError: the model cannot be split as the spec asks, or does not fit.
    """
    config = read_config(checkpoint.directory, checkpoint.source)
    as_is = spec.build.flow == "pytorch"
    decoder = decoder_of(without_rope(config) if as_is else config, checkpoint.source)
    if has_weights(checkpoint.directory):
        weights = open_weights(checkpoint.directory, checkpoint.source)
        if not as_is:  # that reads quantized weights too, under names of their own
            check_weights(decoder, weights, checkpoint.source)
    build = resolved(spec, checkpoint, max_seq_len).build
    quantization = _stored_quantization(checkpoint, config) if as_is else build.quantization
    if quantization is None:
        quantization, gpus = "none", None  # how much memory such weights take is not known here
    value_bytes = ITEM_SIZES[build.dtype]
    limits = Limits(
        max_seq_len,
        build.max_batch_size,
        build.max_num_tokens,
        value_bytes,
        value_bytes,
        tokens_per_block=build.compile.tokens_per_block,
        kv_fraction=spec.serve.kv_cache_free_gpu_memory_fraction or KV_CACHE_FREE_GPU_MEMORY_FRACTION,
        adapters=_adapters(spec),
    )
    parallel = Parallelism(build.tensor_parallel, build.pipeline_parallel)
    return make_shard_plan(decoder, Asked(origin, parallel, build.dtype, quantization, limits), gpus)


def _stored_quantization(checkpoint: Checkpoint, config: Mapping[str, Any]) -> str | None:
    """The one of QUANTIZATIONS that the weights of `checkpoint` are in; None where it is none of them.

    Raises:
        BuildError: ModelOpt's file is no JSON object.
    """
    file = checkpoint.directory / MODELOPT_CONFIG
    modelopt = parse_object(file.read_bytes(), str(file)).get("quantization") if file.is_file() else None
    section = modelopt or config.get("quantization_config")
    if not section:
        return "none"
    values = section if isinstance(section, dict) else {}
    algorithm = values.get("quant_algo") or values.get("quant_method")
    return _BY_ALGORITHM.get(algorithm.upper()) if isinstance(algorithm, str) else None


def _adapters(spec: EngineSpec) -> AdapterBounds | None:
    lora = spec.build.lora
    if lora is None:
        return None
    return AdapterBounds(len(lora.adapters), lora.max_rank, lora.target_modules, spec.build.flow == "pytorch")


def check_converter(spec: EngineSpec, origin: str) -> None:
    """Raises: SpecError: the spec asks for what Conch cannot pass on to TensorRT-LLM's own converter."""
    if spec.build.flow == "pytorch":
        return
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

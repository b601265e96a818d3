"""What Conch hands to TensorRT-LLM's LLM API, as plain values: this module does not import it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.engine_config import EngineConfig, LoraConfig, TensorRtLlmConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.sampling import CACHE_SALT_FIELD, Sampling
from triton_repo.engine.runtimes.runtime import Generation

NO_END_ID: Final = -1
# Types of guides, and how `GuidedDecodingParams` calls them.
_GUIDES: Final = {
    "json_schema": "json",
    "regex": "regex",
    "ebnf_grammar": "grammar",
    "structural_tag": "structural_tag",
}
_GREEDY: Final = {"top_k": 1}  # the one form that is greedy in every version and flow


def settings_of(config: EngineConfig) -> TensorRtLlmConfig:
    return config.tensorrt_llm or TensorRtLlmConfig()


def llm_arguments(model_directory: Path, config: EngineConfig) -> dict[str, Any]:
    """Arguments of `LLM` in every version, but for the configurations that are classes of TensorRT-LLM (see below).

    A compiled engine knows its limits; they are handed over all the same, so that it warns where they differ. A limit
    that only the PyTorch flow or only the compiled flow has an argument for is given to that one alone: the other
    rejects it.
    """
    settings = settings_of(config)
    engine = EngineDirectory(model_directory.parent)
    arguments: dict[str, Any] = {
        "model": str(engine.model.compiled if settings.flow == "compiled" else engine.model.checkpoint),
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": settings.pipeline_parallel,
        "max_batch_size": config.max_batch_size,
        "max_num_tokens": config.max_num_tokens,
        "max_seq_len": config.max_seq_len,
        "max_beam_width": settings.max_beam_width,
        "enable_chunked_prefill": config.enable_chunked_context,
    }
    if settings.gather_generation_logits:
        arguments["gather_generation_logits"] = True
    if settings.flow == "pytorch":
        arguments["dtype"] = config.dtype
    return arguments


def kv_cache_arguments(config: EngineConfig) -> dict[str, Any]:
    """Arguments of `KvCacheConfig`."""
    settings = settings_of(config)
    return {
        "enable_block_reuse": config.enable_kv_cache_reuse,
        "free_gpu_memory_fraction": settings.kv_cache_free_gpu_memory_fraction,
        "max_tokens": settings.max_tokens_in_paged_kv_cache,
        "host_cache_size": settings.kv_cache_host_memory_bytes or None,
    }


def lora_arguments(lora: LoraConfig) -> dict[str, Any]:
    """Arguments of `LoraConfig`, which the PyTorch flow needs (a compiled engine knows): all adapters have room.

    No `lora_dir`: where that is a single one, TensorRT-LLM would take what it adapts and its tokenizer from there.
    """
    return {
        "max_lora_rank": lora.max_rank,
        "lora_target_modules": list(lora.target_modules),
        "max_loras": lora.room,
        "max_cpu_loras": lora.room,
    }


def adapter_arguments(model_directory: Path, config: EngineConfig) -> list[dict[str, Any]]:
    """Arguments of a `LoRARequest` for each adapter."""
    lora = settings_of(config).lora
    names = () if lora is None else lora.adapters
    engine = EngineDirectory(model_directory.parent)
    return [
        {"lora_name": name, "lora_int_id": number, "lora_path": str(engine.adapter(name))}
        for number, name in enumerate(names, start=1)
    ]


def scheduler_policy(config: EngineConfig) -> str:
    """The member of `CapacitySchedulerPolicy`."""
    return settings_of(config).capacity_scheduler_policy.upper()


def guide_arguments(sampling: Sampling) -> dict[str, Any]:
    """Arguments of `GuidedDecodingParams`; none for a request without a guide."""
    if sampling.guided_decoding_guide_type is None:
        return {}
    if sampling.guided_decoding_guide_type == "json":
        return {"json_object": True}
    return {_GUIDES[sampling.guided_decoding_guide_type]: sampling.guided_decoding_guide}


def optional_arguments(generation: Generation, fields: Iterable[str]) -> dict[str, Any]:
    """Arguments of `generate_async` for those of `fields` that a request sets: they have its names.

    A prompt whose logprobs are wanted has a salt of its own: what is in the cache already has no logits.
    """
    given = {name: value for name in fields if (value := getattr(generation.sampling, name)) is not None}
    return given if generation.prompt_logprobs is None else {**given, CACHE_SALT_FIELD: secrets.token_hex(16)}


def sampling_arguments(generation: Generation, pad_id: int, least_logprobs: int) -> dict[str, Any]:
    """Arguments of `SamplingParams` for one generation, but for its guide.

    `least_logprobs` asks for the logprob of the sampled token alone.
    """
    sampling = generation.sampling
    end_id, *other_ends = generation.end_ids or (NO_END_ID,)
    # `min_tokens` holds back the end id alone. Under it the other ends are left to the engine loop, which looks at
    # every token; without it TensorRT-LLM sees them one iteration sooner.
    stops = [] if sampling.min_tokens else other_ends
    return {
        "end_id": end_id,
        "pad_id": pad_id,
        "max_tokens": generation.max_tokens,
        "min_tokens": sampling.min_tokens,
        "stop_token_ids": stops or None,
        "include_stop_str_in_output": True,  # or the stop's id is taken out of ids that were handed over before
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "prompt_logprobs": generation.prompt_logprobs,
        "logprobs": None if sampling.logprobs is None else max(least_logprobs, sampling.logprobs),
        "detokenize": False,
        **_choice(sampling),
    }


def _choice(sampling: Sampling) -> dict[str, Any]:
    """How a token is sampled. Without any of these TensorRT-LLM is greedy, not at temperature 1."""
    if sampling.temperature == 0:
        return dict(_GREEDY)
    return {
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "top_k": max(sampling.top_k or 0, 0),  # 0 switches it off
        "min_p": sampling.min_p,
        # TensorRT-LLM's own default is the same seed for every request.
        "seed": secrets.randbits(64) if sampling.seed is None else sampling.seed % 2**64,
    }

"""OpenVINO GenAI's continuous batching, opened for an engine: its scheduler, its properties, its sampling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai

from triton_repo.contract.engine_config import (
    OPENVINO_KERNELS,
    OPENVINO_KV_BLOCK_SIZE,
    EngineConfig,
    SpeculativeConfig,
)
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.placement.cpus import thread_properties
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.guides import structured_output
from triton_repo.engine.runtimes.runtime import Generation

_PRECISIONS: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "u8": "u8"}
_WARM_UP_TOKENS: Final = 16  # less than a block of the cache, so that no prompt begins with them
_LARGEST_MIN_P: Final = 1 - 1e-6  # the pipeline rejects 1, which is the most likely token alone
_LOWEST_TEMPERATURE: Final = 1e-6  # logits divided by less overflow; greedy decoding is meant


def open_pipeline(
    model_directory: Path, config: EngineConfig, tokenizer: Any = None, adapter: Path | None = None
) -> Any:
    """A pipeline on `openvino_model.xml` in the directory, with the engine's limits, cache and precisions.

    `tokenizer` is what its grammars know of the vocabulary; without it there can be none. `adapter` is a file that was
    written for this model (`build_scripts/openvino/adapters.py`), which every request is then computed with.
    """
    properties = model_properties(config)
    if adapter is not None:
        # Its matrices stay apart from the model's, which may be compressed, and all is constant: the other modes need a
        # call of `generate` to take effect.
        mode = openvino_genai.AdapterConfig.Mode.MODE_STATIC
        properties["adapters"] = openvino_genai.AdapterConfig(openvino_genai.Adapter(adapter), 1.0, mode)
    speculative = config.speculative
    if speculative is not None and speculative.mode == "prompt_lookup":
        return _open(model_directory, config, {**properties, "prompt_lookup": True})
    if speculative is not None:
        draft = openvino_genai.draft_model(
            EngineDirectory(model_directory.parent).draft.path, "CPU", scheduler_config=_scheduler(config), **properties
        )
        return _open(model_directory, config, {**properties, "draft_model": draft})
    if tokenizer is not None:
        scheduler = _scheduler(config)
        return openvino_genai.ContinuousBatchingPipeline(model_directory, tokenizer, scheduler, "CPU", **properties)
    return _open(model_directory, config, properties)


def warm_up(pipeline: Any, config: EngineConfig) -> None:
    """Have a pipeline that is idle read a prompt and write a token after it: the first time takes much longer.

    Other threads go on meanwhile, which they do not while a pipeline makes a `step`.
    """
    num_tokens = min(_WARM_UP_TOKENS, config.max_seq_len - 2)
    generation = Generation(0, [0] * num_tokens, 2, (), Sampling(temperature=0.0))
    ids = openvino.Tensor(np.array([generation.input_ids], dtype=np.int64))
    pipeline.generate([ids], [generation_config(generation, 0, 0, config.speculative)])


def with_own_cache(config: EngineConfig) -> EngineConfig:
    """The engine with the KV cache of one of its pipelines: an equal share of all, in whole blocks."""
    if not config.card.room:
        return config
    blocks = config.max_tokens_in_paged_kv_cache // OPENVINO_KV_BLOCK_SIZE // (1 + config.card.room)
    return config.model_copy(update={"max_tokens_in_paged_kv_cache": blocks * OPENVINO_KV_BLOCK_SIZE})


def num_blocks(tokens: int) -> int:
    """Blocks of the paged KV cache that so many tokens of one sequence fill."""
    return -(-tokens // OPENVINO_KV_BLOCK_SIZE)


def cache_blocks(config: EngineConfig) -> int:
    """Blocks of the engine's cache; the candidates of speculative decoding get blocks on top of those in the spec."""
    blocks = num_blocks(config.max_tokens_in_paged_kv_cache)
    if config.speculative is not None:
        blocks += config.max_batch_size * num_blocks(config.speculative.num_assistant_tokens)
    return blocks


def generation_config(
    generation: Generation, seed: int, num_generated: int, speculative: SpeculativeConfig | None
) -> Any:
    """What the pipeline is to do for a generation that has generated `num_generated` tokens already."""
    sampling = generation.sampling
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = generation.max_tokens - num_generated
    config.min_new_tokens = max(0, (sampling.min_tokens or 0) - num_generated)
    # Never unset: the pipeline then takes the model's own, -1 where that has none, and rejects it.
    config.ignore_eos = not generation.end_ids
    config.set_eos_token_id(next(iter(generation.end_ids), 0))
    if generation.end_ids:
        config.stop_token_ids = set(generation.end_ids)
    config.repetition_penalty = _given(sampling.repetition_penalty, 1.0)
    config.frequency_penalty = _given(sampling.frequency_penalty, 0.0)
    config.presence_penalty = _given(sampling.presence_penalty, 0.0)
    config.logprobs = int(sampling.logprobs is not None)
    temperature = _given(sampling.temperature, 1.0)
    if temperature >= _LOWEST_TEMPERATURE:
        config.do_sample = True
        config.temperature = temperature
        config.rng_seed = seed
        config.top_p = _given(sampling.top_p, 1.0)
        config.min_p = min(_given(sampling.min_p, 0.0), _LARGEST_MIN_P)
        if (sampling.top_k or 0) > 0:
            config.top_k = sampling.top_k
    if sampling.guide is not None:
        config.structured_output_config = structured_output(sampling.guide)
    if speculative is not None:
        _speculate(config, speculative)
    return config


def _speculate(config: Any, speculative: SpeculativeConfig) -> None:
    config.num_assistant_tokens = speculative.num_assistant_tokens
    # Both numbers together mean "prompt lookup" to the sampler, which then keeps a candidate only if it is the very
    # token that the model samples there. A draft needs that too: its own rule (2026.4) weighs the draft's probability
    # against that of another token, and a sampled request soon makes a step fail.
    config.max_ngram_size = speculative.max_ngram_size or 1


def _open(model_directory: Path, config: EngineConfig, properties: Mapping[str, Any]) -> Any:
    return openvino_genai.ContinuousBatchingPipeline(model_directory, _scheduler(config), "CPU", properties)


def _scheduler(config: EngineConfig) -> Any:
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = config.max_num_tokens
    scheduler.max_num_seqs = config.max_batch_size  # which a chunked context ignores
    scheduler.num_kv_blocks = cache_blocks(config)
    scheduler.enable_prefix_caching = config.enable_kv_cache_reuse
    scheduler.dynamic_split_fuse = config.enable_chunked_context
    return scheduler


def model_properties(config: EngineConfig) -> dict[str, Any]:
    """What the model is compiled with: its precisions, its threads, and what it keeps."""
    properties: dict[str, Any] = {
        **OPENVINO_KERNELS,
        "INFERENCE_PRECISION_HINT": _PRECISIONS[config.dtype],
        "KV_CACHE_PRECISION": _PRECISIONS[config.kv_cache_dtype],
        **thread_properties(config.num_threads),
    }
    if config.dynamic_quantization_group_size is not None:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = config.dynamic_quantization_group_size
    return properties


def _given(value: float | None, default: float) -> float:
    return default if value is None else value

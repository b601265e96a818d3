"""Opens an engine of TensorRT-LLM: the LLM API (1.2) of either flow, with the configurations that are classes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.llmapi import (
    CapacitySchedulerPolicy,
    DraftTargetDecodingConfig,
    KvCacheConfig,
    LookaheadDecodingConfig,
    NGramDecodingConfig,
    SchedulerConfig,
)
from tensorrt_llm.lora_helper import LoraConfig

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.engine.runtimes.tensorrt_llm.arguments import (
    adapter_arguments,
    kv_cache_arguments,
    llm_arguments,
    lora_arguments,
    scheduler_policy,
    settings_of,
    speculative_arguments,
)
from triton_repo.engine.runtimes.tensorrt_llm.engine import check_engine, installed
from triton_repo.engine.runtimes.tensorrt_llm.runtime import TensorRtLlmRuntime

_SPECULATIVE_CONFIGS: Final = {
    "prompt_lookup": NGramDecodingConfig,
    "draft": DraftTargetDecodingConfig,
    "lookahead": LookaheadDecodingConfig,
}


def open_tensorrt_llm(model_directory: Path, config: EngineConfig) -> TensorRtLlmRuntime:
    """Load the engine or the checkpoint onto the GPUs.

    Raises:
        LaunchError: it is not compiled, or was compiled for another TensorRT-LLM or another GPU.
    """
    check_engine(model_directory, config, installed())
    if settings_of(config).flow == "pytorch":
        from tensorrt_llm import LLM
    else:
        from tensorrt_llm._tensorrt_engine import LLM
    llm = LLM(
        **llm_arguments(model_directory, config),
        **_speculative_config(model_directory, config),
        **_lora_config(config),
        kv_cache_config=KvCacheConfig(**kv_cache_arguments(config)),
        scheduler_config=SchedulerConfig(capacity_scheduler_policy=CapacitySchedulerPolicy[scheduler_policy(config)]),
    )
    adapters = [LoRARequest(**arguments) for arguments in adapter_arguments(model_directory, config)]
    by_name = {adapter.lora_name: adapter for adapter in adapters}
    return TensorRtLlmRuntime(llm, by_name, pad_id=next(iter(config.eos_token_ids), 0))


def _speculative_config(model_directory: Path, config: EngineConfig) -> dict[str, Any]:
    if config.speculative is None:
        return {}
    arguments = speculative_arguments(model_directory, config.speculative)
    return {"speculative_config": _SPECULATIVE_CONFIGS[config.speculative.mode](**arguments)}


def _lora_config(config: EngineConfig) -> dict[str, Any]:
    settings = settings_of(config)
    if settings.lora is None or settings.flow == "compiled":
        return {}
    return {"lora_config": LoraConfig(**lora_arguments(settings.lora))}

"""Opens an engine of TensorRT-LLM: the LLM API of the version that is installed, with the classes that it has.

`tensorrt_llm` is imported only once the environment is prepared: it starts MPI and CUDA as it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from triton_repo.contract.capabilities.runtimes import capabilities_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.llm_api import LlmApi, installed_llm_api
from triton_repo.engine.runtimes.tensorrt_llm.arguments import (
    adapter_arguments,
    kv_cache_arguments,
    llm_arguments,
    lora_arguments,
    scheduler_policy,
    settings_of,
)
from triton_repo.engine.runtimes.tensorrt_llm.engine import check_engine, installed
from triton_repo.engine.runtimes.tensorrt_llm.environment import prepare_environment
from triton_repo.engine.runtimes.tensorrt_llm.guide_tokenizer import guide_tokenizer
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.contract import Contract, SpeculativeClass
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_2 import V1_2
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_3 import V1_3
from triton_repo.engine.runtimes.tensorrt_llm.requests import Requests
from triton_repo.engine.runtimes.tensorrt_llm.runtime import TensorRtLlmRuntime

CONTRACTS: Final[Mapping[LlmApi | None, Contract]] = {"1.2": V1_2, "1.3": V1_3}


def open_tensorrt_llm(model_directory: Path, config: EngineConfig) -> TensorRtLlmRuntime:
    """Load the engine or the checkpoint onto the GPUs.

    Raises:
        LaunchError: this TensorRT-LLM does not run it, it is not compiled, or was compiled for another TensorRT-LLM or
            another GPU.
    """
    check_engine(model_directory, config, installed())
    contract = CONTRACTS[installed_llm_api()]
    prepare_environment(config, contract)
    llm = _open_llm(contract, model_directory, config)
    return TensorRtLlmRuntime(llm, _requests(contract, model_directory, config))


def _open_llm(contract: Contract, model_directory: Path, config: EngineConfig) -> Any:
    from tensorrt_llm.llmapi import CapacitySchedulerPolicy, KvCacheConfig, SchedulerConfig

    flow = settings_of(config).flow
    arguments = llm_arguments(model_directory, config)
    if flow == "pytorch":
        arguments |= contract.pytorch_arguments
    if config.speculative is not None:
        chosen = choose(contract.speculation[config.speculative.mode], import_module("tensorrt_llm.llmapi"))
        configuration = getattr(import_module("tensorrt_llm.llmapi"), chosen.name)
        arguments |= chosen.llm_arguments
        arguments["speculative_config"] = configuration(**chosen.arguments(model_directory, config.speculative))
    with _guided(model_directory, config) as guided:
        return import_module(contract.llm_modules[flow]).LLM(
            **arguments,
            **guided,
            **_lora_config(contract, config),
            kv_cache_config=KvCacheConfig(**kv_cache_arguments(config)),
            scheduler_config=SchedulerConfig(
                capacity_scheduler_policy=CapacitySchedulerPolicy[scheduler_policy(config)],
                **contract.scheduler_arguments,
            ),
        )


@contextmanager
def _guided(model_directory: Path, config: EngineConfig) -> Iterator[dict[str, Any]]:
    """Arguments of `LLM` for guides: a grammar is one of characters, so the vocabulary must be known."""
    backend = settings_of(config).guided_decoding_backend
    if backend is None:
        yield {"skip_tokenizer_init": True}  # token ids in, token ids out
        return
    with guide_tokenizer(EngineDirectory(model_directory.parent), config) as tokenizer:
        yield {"skip_tokenizer_init": False, "tokenizer": str(tokenizer), "guided_decoding_backend": backend}


def choose(classes: Iterable[SpeculativeClass], module: ModuleType) -> SpeculativeClass:
    """The first of `classes` that `module` has; the last one where it has none, so that its name is in the error."""
    *preferred, last = classes
    return next((each for each in preferred if hasattr(module, each.name)), last)


def _lora_config(contract: Contract, config: EngineConfig) -> dict[str, Any]:
    settings = settings_of(config)
    if settings.lora is None or settings.flow == "compiled":
        return {}
    return {"lora_config": _first_module(contract.lora_modules).LoraConfig(**lora_arguments(settings.lora))}


def _first_module(names: Iterable[str]) -> ModuleType:
    *preferred, last = names
    for name in preferred:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    return import_module(last)


def _requests(contract: Contract, model_directory: Path, config: EngineConfig) -> Requests:
    from tensorrt_llm.executor.request import LoRARequest

    adapters = [LoRARequest(**arguments) for arguments in adapter_arguments(model_directory, config)]
    numbers = count(len(adapters) + 1)  # by which TensorRT-LLM knows adapters, and what they have in the KV cache
    return Requests(
        able=capabilities_of("tensorrt_llm", settings_of(config).flow, contract.api),
        least_logprobs=contract.least_logprobs,
        adapters={adapter.lora_name: adapter for adapter in adapters},
        make_adapter=lambda name, directory: LoRARequest(name, next(numbers), str(directory)),
        vocab_size=config.vocab_size,
        pad_id=next(iter(config.eos_token_ids), 0),
    )

"""Checks of what only some engines can do for a request: LoRA adapters and guided decoding.

A guide is checked here for its type; whether its library can parse it takes longer to find out, and is the task of
`guides.queue`, before the engine gets the request.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from triton_repo.contract.capabilities.runtimes import capabilities_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter
from triton_repo.contract.llm_api import LlmApi
from triton_repo.contract.sampling import ADAPTER_FIELD, GUIDE_FIELDS, Sampling
from triton_repo.contract.tensors import END_ID

_TYPE, _GUIDE = GUIDE_FIELDS
# Once an answer completes its guide only the end is allowed, and both of these forbid it.
_FORBID_THE_END: Final = ("ignore_eos", "min_tokens")


def for_llm_api(config: EngineConfig, api: LlmApi | None) -> EngineConfig:
    """The engine with what it can do on the LLM API that is installed: it may have been rendered for another one."""
    settings = config.tensorrt_llm
    if settings is None or api is None:
        return config
    able = capabilities_of(config.runtime, settings.flow, api)
    mode = config.speculative.mode if config.speculative else None
    unsupported = able.unsupported(
        mode,
        settings.guided_decoding_backend,
        lora=settings.lora is not None,
        logprobs=settings.gather_generation_logits,
    )
    card = replace(
        config.card,
        unsupported=unsupported,
        max_logprobs=able.max_logprobs,
        max_prompt_logprobs=able.prompt_alternatives(mode),
        logit_bias=able.biases_logits(mode, vocab_size=config.vocab_size, tensor_parallel=settings.tensor_parallel),
    )
    return config.model_copy(update={"card": card})


def check_adapter(sampling: Sampling, config: EngineConfig) -> None:
    """
    Raises:
        InvalidRequest: the engine has no such adapter.
    """
    name = sampling.lora_name
    if name is None:
        return
    if not config.card.adapters:
        raise UnsupportedParameter(f"{ADAPTER_FIELD}: this engine has no adapters", ADAPTER_FIELD)
    if name not in config.card.adapters:
        known = ", ".join(config.card.adapters)
        raise InvalidRequest(f"{ADAPTER_FIELD} = {name}: must be one of {known}", ADAPTER_FIELD)


def check_whole_prompt(num_tokens: int, config: EngineConfig) -> None:
    """
    Raises:
        ContextLengthExceeded: the engine reads prompts in one iteration, and this one is longer.
    """
    if config.tensorrt_llm is not None and not config.enable_chunked_context and num_tokens > config.max_num_tokens:
        rule = f"this engine reads a prompt in one iteration, of at most {config.max_num_tokens}"
        raise ContextLengthExceeded(f"prompt: {num_tokens} tokens; {rule}", "prompt")


def defaults_beside(given: Sampling, defaults: Sampling) -> Sampling:
    """The engine's defaults, without those that the guide of a request excludes."""
    if given.guided_decoding_guide_type is None:
        return defaults
    return defaults.model_copy(update=dict.fromkeys(_FORBID_THE_END))


def check_guide(sampling: Sampling, end_ids: Collection[int], config: EngineConfig) -> None:
    """
    Args:
        end_ids: the token ids that end the generation.

    Raises:
        InvalidRequest: the guide is incomplete, its answer could not end, or the engine cannot follow it.
    """
    kind, guide = sampling.guided_decoding_guide_type, sampling.guided_decoding_guide
    if kind is None and guide is None:
        return
    allowed = guide_types(config)
    if not allowed:
        raise UnsupportedParameter(f"{_TYPE}: this engine has no guided decoding", _TYPE)
    if kind not in allowed:
        raise InvalidRequest(f"{_TYPE} = {kind}: must be one of {', '.join(allowed)}", _TYPE)
    if (kind == "json") != (guide is None):
        needs = "takes no" if kind == "json" else "needs a"
        raise InvalidRequest(f"{_GUIDE}: {_TYPE} = {kind} {needs} {_GUIDE}", _GUIDE)
    for name in _FORBID_THE_END:
        if getattr(sampling, name):
            rule = f"not possible together with {_TYPE}: the guide decides when an answer may end"
            raise InvalidRequest(f"{name}: {rule}", name)
    if set(config.eos_token_ids).isdisjoint(end_ids):
        rule = f"not possible together with {_TYPE}: only an end token of the model ends such an answer"
        raise InvalidRequest(f"{END_ID.name}: {rule}", END_ID.name)


def guide_types(config: EngineConfig) -> tuple[str, ...]:
    """The types of guides that the engine can follow."""
    settings = config.tensorrt_llm
    able = capabilities_of(config.runtime, settings.flow if settings else "compiled")
    backend = settings.guided_decoding_backend if settings else able.built_in_guides
    if backend is None or _TYPE in config.card.unsupported:
        return ()
    return able.guides.get(backend, ())

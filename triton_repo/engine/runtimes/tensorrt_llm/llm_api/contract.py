"""What differs between the versions of TensorRT-LLM's LLM API, as data: a module beside this one holds each of them.

Nothing here imports `tensorrt_llm`: classes are named, and looked up when an engine is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triton_repo.contract.engine_config import Flow, SpeculativeConfig, SpeculativeMode
from triton_repo.contract.llm_api import LlmApi


@dataclass(frozen=True, slots=True)
class SpeculativeClass:
    """A configuration of speculative decoding.

    Attributes:
        name: of the class in `tensorrt_llm.llmapi`.
        arguments: what it is made with, of the model directory and the engine's settings.
        llm_arguments: what `LLM` needs beside it.
    """

    name: str
    arguments: Callable[[Path, SpeculativeConfig], Mapping[str, Any]]
    llm_arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contract:
    """One form of the LLM API.

    Attributes:
        llm_modules: where the `LLM` of each flow is; a flow that is not there does not exist.
        pytorch_arguments: of `LLM` in the PyTorch flow alone, without speculative decoding too.
        scheduler_arguments: of `SchedulerConfig`.
        speculation: by mode the classes for it, of which the first is taken that is there.
        lora_modules: where `LoraConfig` may be; the first module is taken that is there.
        least_logprobs: what asks for the logprob of the sampled token alone.
        short_host_name: whether Open MPI has to be given a name of this machine, since it fails with a long one.
    """

    api: LlmApi
    llm_modules: Mapping[Flow, str]
    pytorch_arguments: Mapping[str, Any]
    scheduler_arguments: Mapping[str, Any]
    speculation: Mapping[SpeculativeMode, tuple[SpeculativeClass, ...]]
    lora_modules: tuple[str, ...]
    least_logprobs: int
    short_host_name: bool

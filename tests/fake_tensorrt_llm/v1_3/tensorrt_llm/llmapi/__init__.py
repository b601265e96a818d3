"""What the real one exports, as far as there is a reason to use it: no LookaheadDecodingConfig, no LoraConfig."""

from __future__ import annotations

from tensorrt_llm.executor import CompletionOutput, RequestError, RequestOutput
from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.llmapi.llm import LLM
from tensorrt_llm.llmapi.llm_args import (
    CapacitySchedulerPolicy,
    DraftTargetDecodingConfig,
    KvCacheConfig,
    NGramDecodingConfig,
    SADecodingConfig,
    SchedulerConfig,
    TelemetryConfig,
    TorchLlmArgs,
)
from tensorrt_llm.sampling_params import GuidedDecodingParams, SamplingParams

__all__ = [
    "LLM",
    "CapacitySchedulerPolicy",
    "CompletionOutput",
    "DraftTargetDecodingConfig",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "LoRARequest",
    "NGramDecodingConfig",
    "RequestError",
    "RequestOutput",
    "SADecodingConfig",
    "SamplingParams",
    "SchedulerConfig",
    "TelemetryConfig",
    "TorchLlmArgs",
]

"""Fields and checks: tensorrt_llm/llmapi/llm_args.py@0004396720."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator
from tensorrt_llm._torch.peft.lora.config import LoraConfig


class StrictBaseModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CapacitySchedulerPolicy(StrEnum):
    MAX_UTILIZATION = "MAX_UTILIZATION"
    GUARANTEED_NO_EVICT = "GUARANTEED_NO_EVICT"
    STATIC_BATCH = "STATIC_BATCH"


class SchedulerConfig(StrictBaseModel):
    capacity_scheduler_policy: CapacitySchedulerPolicy = CapacitySchedulerPolicy.GUARANTEED_NO_EVICT
    context_chunking_policy: Any = None
    dynamic_batch_config: Any = None
    waiting_queue_policy: Literal["fcfs", "priority"] = "fcfs"
    use_python_scheduler: bool = False
    enable_prefix_aware_scheduling: bool = True


class KvCacheConfig(StrictBaseModel):
    enable_block_reuse: bool = True
    max_tokens: int | None = None
    max_attention_window: list[int] | None = None
    sink_token_length: int | None = None
    free_gpu_memory_fraction: float = Field(default=0.9, ge=0, le=1)
    host_cache_size: int | None = None
    disk_cache_size: int | None = None
    disk_cache_path: str | None = None
    cross_kv_cache_fraction: float | None = None
    secondary_offload_min_priority: int | None = None
    event_buffer_max_size: int = 0
    enable_partial_reuse: bool = True
    copy_on_partial_reuse: bool = True
    max_gpu_total_bytes: int = 0
    iteration_stats_interval: int = 1
    dtype: str = "auto"
    tokens_per_block: int = 32
    use_kv_cache_manager_v2: bool | Literal["auto"] = "auto"


class TelemetryConfig(StrictBaseModel):
    disabled: bool = False
    usage_context: str | None = None


class DecodingBaseConfig(StrictBaseModel):
    max_draft_len: int | None = None
    max_total_draft_tokens: int | None = None
    speculative_model: str | Path | None = Field(
        default=None, validation_alias=AliasChoices("speculative_model", "speculative_model_dir")
    )
    max_concurrency: int | None = None
    draft_len_schedule: dict[int, int] | None = None
    load_format: str | None = None
    acceptance_rate_window_size: int | None = None
    acceptance_rate_threshold: float | None = None
    use_rejection_sampling: bool = False
    advanced_sampling_mode: str | None = None
    enable_penalty: bool = False

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.max_draft_len is None or self.max_draft_len <= 0:
            raise ValueError(f"max_draft_len must be > 0 for {type(self).__name__}")
        return self


class NGramDecodingConfig(DecodingBaseConfig):
    max_matching_ngram_size: PositiveInt = 2
    is_keep_all: bool = True
    is_use_oldest: bool = True
    is_public_pool: bool = True


class SADecodingConfig(DecodingBaseConfig):
    max_matching_ngram_size: int = -1
    enable_global_pool: bool = False
    global_pool_size: int | None = None

    @field_validator("max_matching_ngram_size")
    @classmethod
    def _not_zero(cls, value: int) -> int:
        if value == 0:
            raise ValueError("max_matching_ngram_size must be positive or -1")
        return value


class DraftTargetDecodingConfig(DecodingBaseConfig):
    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.speculative_model is None:
            raise ValueError("speculative_model must be specified.")
        return self


class TorchLlmArgs(StrictBaseModel):
    """Of the real one, what there is a reason to set."""

    model: str | Path
    tokenizer: Any = None
    tokenizer_mode: Literal["auto", "slow"] = "auto"
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    context_parallel_size: int = 1
    gpus_per_node: int | None = None
    dtype: str = "auto"
    revision: str | None = None
    tokenizer_revision: str | None = None
    kv_cache_config: KvCacheConfig = Field(default_factory=KvCacheConfig)
    scheduler_config: SchedulerConfig = Field(default_factory=SchedulerConfig)
    enable_chunked_prefill: bool = False
    guided_decoding_backend: Literal["xgrammar", "llguidance"] | None = None
    speculative_config: DraftTargetDecodingConfig | NGramDecodingConfig | SADecodingConfig | None = None
    enable_lora: bool = False
    lora_config: LoraConfig | None = None
    max_batch_size: int | None = 2048
    max_input_len: int | None = 1024
    max_seq_len: int | None = None
    max_beam_width: int | None = 1
    max_num_tokens: int | None = 8192
    gather_generation_logits: bool = False
    cuda_graph_config: Any = None
    disable_overlap_scheduler: bool = False
    attn_backend: str = "TRTLLM"
    enable_iter_perf_stats: bool = False
    max_stats_len: int = 1000
    stream_interval: int = 1
    telemetry_config: TelemetryConfig = Field(default_factory=TelemetryConfig)

    @model_validator(mode="before")
    @classmethod
    def _sampler_is_not_chosen(cls, values: dict[str, Any]) -> dict[str, Any]:
        sampler = values.pop("sampler_type", None)
        if sampler in {"auto", "TorchSampler"}:
            logging.getLogger("tensorrt_llm").warning("sampler_type is ignored")
        elif sampler is not None:
            raise ValueError(f"sampler_type {sampler!r} is gone; note logprobs=0, and an end_id that is real")
        return values

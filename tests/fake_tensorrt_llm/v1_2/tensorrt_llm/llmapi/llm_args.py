from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveInt
from tensorrt_llm.lora_helper import LoraConfig


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
    waiting_queue_policy: Literal["fcfs"] = "fcfs"


class KvCacheConfig(StrictBaseModel):
    enable_block_reuse: bool = True
    max_tokens: int | None = None
    max_attention_window: list[int] | None = None
    sink_token_length: int | None = None
    free_gpu_memory_fraction: float | None = Field(default=0.9, ge=0, le=1)
    host_cache_size: int | None = None
    onboard_blocks: bool = True
    cross_kv_cache_fraction: float | None = None
    secondary_offload_min_priority: int | None = None
    event_buffer_max_size: int = 0
    enable_partial_reuse: bool = True
    copy_on_partial_reuse: bool = True
    dtype: str = "auto"


class DecodingBaseConfig(StrictBaseModel):
    max_draft_len: int | None = None
    max_total_draft_tokens: int | None = None
    speculative_model: str | Path | None = Field(
        default=None, validation_alias=AliasChoices("speculative_model", "speculative_model_dir")
    )
    max_concurrency: int | None = None
    load_format: str | None = None
    acceptance_window: int | None = None
    acceptance_length_threshold: float | None = None

    def supports_backend(self, backend: str) -> bool:
        return backend == "pytorch"


class NGramDecodingConfig(DecodingBaseConfig):
    max_matching_ngram_size: PositiveInt = 2
    is_keep_all: bool = True
    is_use_oldest: bool = True
    is_public_pool: bool = True


class DraftTargetDecodingConfig(DecodingBaseConfig):
    pass


class LookaheadDecodingConfig(DecodingBaseConfig):
    max_window_size: PositiveInt = 4
    max_ngram_size: PositiveInt = 3
    max_verification_set_size: PositiveInt = 4

    def calculate_speculative_resource(self) -> tuple[int, int, int, int]:
        """Decoding tokens, path length, draft tokens and draft path length, all at most."""
        window, ngram, guesses = self.max_window_size, self.max_ngram_size, self.max_verification_set_size
        draft = (0 if ngram == 1 else ngram - 2) + (window - 1 + guesses) * (ngram - 1)
        return draft + 1, ngram, draft, ngram - 1

    def supports_backend(self, backend: str) -> bool:
        return backend not in {"pytorch", "_autodeploy"}


class BaseLlmArgs(StrictBaseModel):
    """Of the real one, what there is a reason to set."""

    model: str | Path
    tokenizer: Any = None
    tokenizer_mode: Literal["auto", "slow"] = "auto"
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    dtype: str = "auto"
    revision: str | None = None
    tokenizer_revision: str | None = None
    kv_cache_config: KvCacheConfig = Field(default_factory=KvCacheConfig)
    scheduler_config: SchedulerConfig = Field(default_factory=SchedulerConfig)
    enable_chunked_prefill: bool = False
    guided_decoding_backend: Literal["xgrammar", "llguidance"] | None = None
    speculative_config: DraftTargetDecodingConfig | NGramDecodingConfig | LookaheadDecodingConfig | None = None
    enable_lora: bool = False
    lora_config: LoraConfig | None = None
    max_batch_size: int | None = 2048
    max_input_len: int | None = 1024
    max_seq_len: int | None = None
    max_beam_width: int | None = 1
    max_num_tokens: int | None = 8192
    gather_generation_logits: bool = False


class TrtLlmArgs(BaseLlmArgs):
    workspace: str | None = None
    enable_build_cache: Any = False
    extended_runtime_perf_knob_config: Any = None
    calib_config: Any = None
    quant_config: Any = None
    fast_build: bool = False
    build_config: Any = None
    batching_type: Any = None
    normalize_log_probs: bool = False


class TorchLlmArgs(BaseLlmArgs):
    cuda_graph_config: Any = None
    disable_overlap_scheduler: bool = False
    attn_backend: str = "TRTLLM"
    sampler_type: Literal["TRTLLMSampler", "TorchSampler", "auto"] = "auto"
    enable_iter_perf_stats: bool = False
    stream_interval: int = 1

"""`engine.json`: what the Triton models know of a built engine. The build writes it, the models read it.

Readers ignore fields that they do not know: a newer version may have written it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.placement.memory import MemoryNeed
from triton_repo.contract.placement.settings import Placement
from triton_repo.contract.sampling import Sampling

Flow = Literal["compiled", "pytorch"]
GuidedDecodingBackend = Literal["xgrammar", "llguidance"]
GPUS_PER_NODE: Final = 8  # TensorRT-LLM's own
KV_CACHE_FREE_GPU_MEMORY_FRACTION: Final = 0.9  # TensorRT-LLM's own
OPENVINO_KV_BLOCK_SIZE: Final = 32  # tokens; of its CPU plugin, where no block holds tokens of two sequences
# A property of its CPU plugin: how many kernels it keeps, each for one shape of one operation. Of prompts and batches
# of all sizes it would keep 5,000: 500 MiB and more beside a small model. With so few an engine computes as fast.
OPENVINO_KERNELS: Final = {"CPU_RUNTIME_CACHE_CAPACITY": 256}
EncodeSpecialTokens = Literal["template", "always"]
CapacitySchedulerPolicy = Literal["guaranteed_no_evict", "max_utilization", "static_batch"]


class ReplayConfig(BaseModel):
    """What the `replay` runtime plays, at a pace per stream (0 = as fast as it can): a text's ids, or the prompt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token_ids: Annotated[tuple[int, ...], Field(min_length=1)]
    echo: bool = False  # the prompt instead
    tokens_per_second: Annotated[float, Field(ge=0)] = 0.0


SpeculativeMode = Literal["prompt_lookup", "draft", "lookahead"]


class SpeculativeConfig(BaseModel):
    """Speculative decoding: in one iteration the model verifies so many candidates, guessed at little cost.

    `prompt_lookup` looks for the last `max_ngram_size` tokens (or fewer) in the prompt and the answer so far, and
    guesses what followed them there; `draft` lets the small model in `draft/` go ahead; `lookahead`
    lets the model guess n-grams of that size itself, so many in a window, and verify so many. What is answered is what
    the model alone would answer, by `lookahead` at temperature 0.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: SpeculativeMode
    num_assistant_tokens: Annotated[int, Field(ge=1)]
    max_ngram_size: Annotated[int, Field(ge=1)] | None = None
    max_window_size: Annotated[int, Field(ge=1)] | None = None
    max_verification_set_size: Annotated[int, Field(ge=1)] | None = None


class LoraConfig(BaseModel):
    """The adapters that the engine was built with, and bounds of all: how many there may be (None: no others), the
    rank, and what they adapt (TensorRT-LLM's names)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    adapters: tuple[str, ...]
    max_loras: Annotated[int, Field(ge=1)] | None = None
    max_rank: Annotated[int, Field(ge=1)]
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def room(self) -> int:
        """How many adapters there may be at once."""
        return self.max_loras or len(self.adapters)


class TensorRtLlmConfig(BaseModel):
    """What only the `tensorrt_llm` runtime reads.

    `compiled` runs the engine in `model/engine`, `pytorch` the HuggingFace checkpoint in `model/checkpoint`.
    `gpus_per_node` is what a compiled engine of several machines expects in each. The KV
    cache takes a fraction of the GPU memory that is free once the weights are loaded, or fewer tokens if
    `max_tokens_in_paged_kv_cache` says so; blocks that find no room there may move to `kv_cache_host_memory_bytes`.
    `guided_decoding_backend` is the library that keeps answers to their guides; without it there are no guides.
    `gather_generation_logits` keeps the logits that logprobs are computed from: only the compiled flow needs it.
    `usage_stats` lets TensorRT-LLM send NVIDIA statistics of its use.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    flow: Flow = "compiled"
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    pipeline_parallel: Annotated[int, Field(ge=1)] = 1
    gpus_per_node: Annotated[int, Field(ge=1)] = GPUS_PER_NODE
    max_beam_width: Annotated[int, Field(ge=1)] = 1
    capacity_scheduler_policy: CapacitySchedulerPolicy = "guaranteed_no_evict"
    kv_cache_free_gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] = KV_CACHE_FREE_GPU_MEMORY_FRACTION
    kv_cache_host_memory_bytes: Annotated[int, Field(ge=0)] = 0
    max_tokens_in_paged_kv_cache: Annotated[int, Field(ge=1)] | None = None
    guided_decoding_backend: GuidedDecodingBackend | None = None
    gather_generation_logits: bool = False
    usage_stats: bool = False
    lora: LoraConfig | None = None


class EngineConfig(BaseModel):
    """One engine as it runs: its limits, its batch, its cache, its defaults. Lengths are in tokens."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    runtime: str
    max_seq_len: Annotated[int, Field(ge=2)]
    max_batch_size: Annotated[int, Field(ge=1)]
    max_num_tokens: Annotated[int, Field(ge=1)]
    vocab_size: Annotated[int, Field(ge=1)]
    eos_token_ids: tuple[int, ...]
    dtype: str
    kv_cache_dtype: str
    max_tokens_in_paged_kv_cache: Annotated[int, Field(ge=1)]
    enable_kv_cache_reuse: bool = True
    enable_chunked_context: bool = True
    num_threads: Annotated[int, Field(ge=1)] | None = None
    dynamic_quantization_group_size: Annotated[int, Field(ge=0)] | None = None
    speculative: SpeculativeConfig | None = None
    flush_interval_s: Annotated[float, Field(ge=0)] = 0.01
    few_streams_flush_interval_s: Annotated[float, Field(ge=0)] = 0.01
    max_step_s: Annotated[float, Field(ge=0)] = 120.0
    max_gap_s: Annotated[float, Field(ge=0)] = 0.0
    encode_special_tokens: EncodeSpecialTokens = "template"
    prompt_logprobs: bool = False
    placement: Placement = Placement()
    memory: MemoryNeed | None = None
    sampling: Sampling = Sampling()
    replay: ReplayConfig | None = None
    tensorrt_llm: TensorRtLlmConfig | None = None
    card: ModelCard

    @classmethod
    def load(cls, directory: Path) -> EngineConfig:
        """Of the built engine in `directory`."""
        return cls.model_validate_json(EngineDirectory(directory).config_file.read_bytes())

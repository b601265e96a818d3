"""An engine spec: the frozen, fully checked value of one `engines/*.toml` and the flags that override it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from build_scripts.spec.embed import EmbedSection
from build_scripts.spec.errors import Problem
from build_scripts.spec.lora import LoraSection
from build_scripts.spec.parsers import REASONING_PARSERS, TOOL_PARSERS
from build_scripts.spec.placement import PlacementSection, broken_placement_rules
from build_scripts.spec.rules import broken_rules
from build_scripts.spec.speculative import SpeculativeSection
from build_scripts.spec.tensorrt_llm import CompileSection, broken_compile_rules
from triton_repo.contract.capabilities.capabilities import Capabilities, Runtime
from triton_repo.contract.capabilities.runtimes import capabilities_of, flows_of
from triton_repo.contract.engine_config import (
    GPUS_PER_NODE,
    CapacitySchedulerPolicy,
    EncodeSpecialTokens,
    Flow,
    GuidedDecodingBackend,
)
from triton_repo.contract.sampling import INT32_MAX, Sampling
from triton_repo.contract.steps import engine_name

NO_PARSER: Final = "none"
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def _known_parser(names: tuple[str, ...], name: str) -> str:
    if name not in (*names, NO_PARSER):
        raise PydanticCustomError("literal_error", "{expected}", {"expected": ", ".join((*names, NO_PARSER))})
    return name


Positive = Annotated[int, Field(ge=1, le=INT32_MAX)]
Dtype = Literal["float32", "float16", "bfloat16"]
Quantization = Literal["none", "int8", "int4", "fp8", "int4_awq", "nvfp4"]
KvCacheDtype = Literal["float32", "float16", "bfloat16", "u8"]


ToolParser = Annotated[str, AfterValidator(partial(_known_parser, TOOL_PARSERS))]
ReasoningParser = Annotated[str, AfterValidator(partial(_known_parser, REASONING_PARSERS))]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class BuildSection(_Section):
    """`[build]`: what the engine is compiled for, named as `trtllm-build` names it. Lengths are in tokens.

    `max_seq_len` None is the checkpoint's `max_position_embeddings`; `max_num_tokens` bounds one engine iteration.
    `flow` is for runtime tensorrt_llm: `pytorch` compiles nothing and runs the checkpoint itself, within these limits.
    `gpus_per_node`: GPUs of a machine, for a compiled engine that is split over several machines. Of the
    `tensor_parallel` ranks of a compiled mixture, `moe_expert_parallel` share out the experts; the others split each.
    """

    dtype: Dtype = "float32"
    quantization: Quantization = "none"
    max_seq_len: Annotated[int, Field(ge=2, le=INT32_MAX)] | None = None
    max_batch_size: Positive = 16
    max_num_tokens: Positive = 512
    tensor_parallel: Positive = 1
    pipeline_parallel: Positive = 1
    gpus_per_node: Positive = GPUS_PER_NODE
    moe_expert_parallel: Positive = 1
    flow: Flow = "compiled"
    compile: CompileSection = CompileSection()
    lora: LoraSection | None = None


class ServeSection(_Section):
    """`[serve]`: how a built engine runs; a change here needs no new build.

    `flush_interval_ms` 0 sends every token by itself; None is the runtime's own. A step of the engine that takes longer
    than `max_step_s` is a hang: its process is ended and started again; 0 = never. `max_gap_ms`, for `openvino`: the
    longest that running streams are to wait for a step with tokens of new prompts, which the engine bounds by its own
    speed, measured at the start, below `build.max_num_tokens`; 0 = no other bound. `encode_special_tokens`: in a chat
    only those that the chat template writes, or always, those in the messages too. `prompt_logprobs`, for
    `openvino`: the model is loaded once more to score prompts; None does not. `kv_cache_dtype` None follows
    `build.dtype`. `max_tokens_in_paged_kv_cache` None is a full batch of full sequences, capped in bytes;
    `kv_cache_bytes` says it in bytes, for `tensorrt_llm` of each GPU.
    `tool_parser` and `reasoning_parser` None follow from the chat template; "none" leaves calls and reasoning as text.
    `num_threads` None is every core. `dynamic_quantization_group_size`, for compressed weights on `openvino`: how many
    activations share a scale when they are rounded to 8 bits; 0 = they are not; None is OpenVINO's own (32 in 2026.4).
    The last six are for `tensorrt_llm` alone: the share of the GPU memory left free by the weights for the KV
    cache (None is 0.9), the host's memory for blocks that it has no room for (None is none), whether a running request
    may be paused for others (`max_utilization`) or never is (`guaranteed_no_evict`, which None is), the library that
    keeps answers to the guides of their requests (None rejects guides), whether a compiled engine keeps its logits
    for requests with logprobs (None rejects them; `build.flow = pytorch` does not need it), and whether TensorRT-LLM
    sends NVIDIA statistics of its use (None does not).
    """

    flush_interval_ms: Annotated[float, Field(ge=0, le=60_000)] | None = None
    max_step_s: Annotated[float, Field(ge=0)] = 120.0
    max_gap_ms: Annotated[float, Field(ge=0)] | None = None
    encode_special_tokens: EncodeSpecialTokens = "template"
    prompt_logprobs: bool | None = None
    kv_cache_dtype: KvCacheDtype | None = None
    max_tokens_in_paged_kv_cache: Positive | None = None
    kv_cache_bytes: Annotated[int, Field(ge=1)] | None = None
    tool_parser: ToolParser | None = None
    reasoning_parser: ReasoningParser | None = None
    enable_kv_cache_reuse: bool = True
    enable_chunked_context: bool = True
    num_threads: Positive | None = None
    dynamic_quantization_group_size: Annotated[int, Field(ge=0, le=INT32_MAX, multiple_of=16)] | None = None
    kv_cache_free_gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    kv_cache_host_memory_bytes: Annotated[int, Field(ge=0)] | None = None
    capacity_scheduler_policy: CapacitySchedulerPolicy | None = None
    guided_decoding_backend: GuidedDecodingBackend | None = None
    gather_generation_logits: bool | None = None
    usage_stats: bool | None = None


class SamplingSection(Sampling):
    """`[sampling]`: the engine's defaults for parameters that a request leaves out."""

    model_config = ConfigDict(extra="forbid")


class ReplaySection(_Section):
    """`[replay]`: the text that the replay runtime emits, and its pace per stream (0 = as fast as it can).

    With `echo` it emits the prompt of each request instead.
    """

    text: Annotated[str, Field(min_length=1)]
    echo: bool = False
    tokens_per_second: Annotated[float, Field(ge=0)] = 0.0


class EngineSpec(_Section):
    """One engine. `model` is a path (absolute, or relative to the spec), a hub id `org/name` or a file in a wheel.

    Where `runtime` is left out, the checkpoint decides: `embed` for one that makes embeddings, scores or classes. A
    spec with `[embed]` means that runtime. Each version of a model is an engine with a spec of its own.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    model: Annotated[str, Field(min_length=1)]
    version: Annotated[int, Field(ge=1, le=999_999_999)] = 1
    runtime: Runtime = "openvino"
    build: BuildSection = BuildSection()
    serve: ServeSection = ServeSection()
    sampling: SamplingSection = SamplingSection()
    speculative: SpeculativeSection | None = None
    replay: ReplaySection | None = None
    embed: EmbedSection | None = None
    placement: PlacementSection = PlacementSection()

    @property
    def engine(self) -> str:
        """The name of the engine, which two versions of a model do not share."""
        return engine_name(self.name, self.version)

    @property
    def flush_interval_ms(self) -> float:
        given = self.serve.flush_interval_ms
        return self.capabilities.flush_interval_ms if given is None else given

    @property
    def capabilities(self) -> Capabilities:
        """What its runtime can do."""
        return capabilities_of(self.runtime, self.build.flow)

    @property
    def few_streams_flush_interval_ms(self) -> float:
        """While few streams are live; an interval that the spec names is kept, however many are."""
        if self.serve.flush_interval_ms is not None:
            return self.serve.flush_interval_ms
        return self.capabilities.few_streams_flush_interval_ms or self.flush_interval_ms

    @property
    def max_gap_ms(self) -> float:
        given = self.serve.max_gap_ms
        return self.capabilities.max_gap_ms if given is None else given

    @property
    def max_draft_len(self) -> int:
        """What an engine of TensorRT-LLM is compiled to verify in one iteration; 0 is nothing."""
        compiled = self.runtime == "tensorrt_llm" and self.build.flow == "compiled"
        return self.speculative.num_candidates if compiled and self.speculative else 0

    @property
    def kv_cache_dtype(self) -> KvCacheDtype:
        return self.serve.kv_cache_dtype or self.build.dtype

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_runtime(cls, values: object) -> object:
        if not isinstance(values, dict) or not isinstance(values.get("build", {}), dict):
            return values
        if "embed" in values:
            values = {"runtime": "embed", **values}
        flows = flows_of(str(values.get("runtime")))
        own = flows[0].defaults.items() if flows else ()
        defaults = {key.removeprefix("build."): value for key, value in own if key.startswith("build.")}
        return {**values, "build": {**defaults, **values.get("build", {})}}

    @model_validator(mode="after")
    def _rules_across_keys(self) -> Self:
        build = self.build
        compiling = broken_compile_rules(build.quantization, build.compile, build.lora)
        ranks = build.tensor_parallel * build.pipeline_parallel
        placing = broken_placement_rules(self.placement, self.runtime, ranks, self.serve.num_threads)
        for problem in chain(broken_rules(self), self._broken_sizes(), self._broken_adapters(), compiling, placing):
            raise problem.as_pydantic_error()
        return self

    def _broken_adapters(self) -> Iterator[Problem]:
        if self.serve.prompt_logprobs and self.build.lora is not None:
            rule = "is not possible with build.lora: prompts are scored without adapters"
            yield Problem("serve.prompt_logprobs", True, rule)

    def _broken_sizes(self) -> Iterator[Problem]:
        build, serve, compile = self.build, self.serve, self.build.compile
        if build.max_num_tokens < build.max_batch_size:
            rule = f"must be ≥ build.max_batch_size ({build.max_batch_size}): each running sequence takes one"
            yield Problem("build.max_num_tokens", build.max_num_tokens, rule)
        candidates = self.speculative.num_candidates if self.speculative is not None else 0
        if build.max_num_tokens < (needed := build.max_batch_size * (1 + candidates)):
            rule = f"must be ≥ {needed}: build.max_batch_size × (1 + {candidates} guesses)"
            yield Problem("build.max_num_tokens", build.max_num_tokens, rule)
        if build.tensor_parallel % build.moe_expert_parallel:
            rule = f"must divide build.tensor_parallel ({build.tensor_parallel})"
            yield Problem("build.moe_expert_parallel", build.moe_expert_parallel, rule)
        if build.moe_expert_parallel > 1 and build.quantization != "none":
            rule = "must be 1 where build.quantization is not none: TensorRT-LLM's quantizer shares out no experts"
            yield Problem("build.moe_expert_parallel", build.moe_expert_parallel, rule)
        for key in ("max_tokens_in_paged_kv_cache", "kv_cache_free_gpu_memory_fraction"):
            if serve.kv_cache_bytes is not None and (other := getattr(serve, key)) is not None:
                yield Problem(f"serve.{key}", other, "is not possible with serve.kv_cache_bytes: remove one of them")
        if 0 < serve.max_step_s < 1:
            yield Problem("serve.max_step_s", serve.max_step_s, "must be ≥ 1, or 0 for no limit")
        longest = compile.max_input_len
        if longest is not None and build.max_seq_len is not None and longest > build.max_seq_len:
            yield Problem("build.compile.max_input_len", longest, f"must be ≤ build.max_seq_len ({build.max_seq_len})")
        if (serve.enable_kv_cache_reuse or serve.enable_chunked_context) and not compile.use_paged_context_fmha:
            rule = "must be true where serve.enable_kv_cache_reuse or serve.enable_chunked_context is"
            yield Problem("build.compile.use_paged_context_fmha", False, rule)

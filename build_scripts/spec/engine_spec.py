"""An engine spec: the frozen, fully checked value of one `engines/*.toml` and the flags that override it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from build_scripts.spec.compile import CompileSection, compile_complaint
from build_scripts.spec.lora import LoraSection
from build_scripts.spec.speculative import SpeculativeSection, Surroundings
from triton_repo.contract.engine_config import CapacitySchedulerPolicy, Flow, GuidedDecodingBackend
from triton_repo.contract.sampling import INT32_MAX, REQUEST_FIELDS, Sampling

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

Positive = Annotated[int, Field(ge=1, le=INT32_MAX)]
Runtime = Literal["openvino", "tensorrt_llm", "replay"]
Dtype = Literal["float32", "float16", "bfloat16"]
Quantization = Literal["none", "int8", "int4", "fp8", "int4_awq", "nvfp4"]
KvCacheDtype = Literal["float32", "float16", "bfloat16", "u8"]

# An engine on the CPU shares it with every message that leaves, and each of its threads waits for the slowest: at 8
# streams of 90 M parameters on two cores, 50 ms delivers a sixth more tokens than 10 ms, and a text still flows.
FLUSH_INTERVALS_MS: Final[Mapping[str, float]] = {"openvino": 100.0, "tensorrt_llm": 10.0, "replay": 10.0}

# What [build] assumes by runtime: a GPU wants wider iterations than a CPU. For tensorrt_llm an absent `dtype` is that
# of the checkpoint (float16 for a float32 one).
_BUILD_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "tensorrt_llm": {"max_batch_size": 256, "max_num_tokens": 8192}
}
_TENSORRT_LLM_KEYS: Final = (
    "kv_cache_free_gpu_memory_fraction",
    "kv_cache_host_memory_bytes",
    "capacity_scheduler_policy",
    "guided_decoding_backend",
    "gather_generation_logits",
)
_OPENVINO_QUANTIZATIONS: Final = ("none", "int8", "int4")


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def broken_rule(key: str, value: object, rule: str) -> PydanticCustomError:
    """A rule across keys, told like a rule about one."""
    return PydanticCustomError("rule", "{rule}", {"key": key, "value": value, "rule": rule})


class BuildSection(_Section):
    """`[build]`: what the engine is compiled for, named as `trtllm-build` names it. Lengths are in tokens.

    `max_seq_len` None is the checkpoint's `max_position_embeddings`; `max_num_tokens` bounds one engine iteration.
    `flow` is for runtime tensorrt_llm: `pytorch` compiles nothing and runs the checkpoint itself, within these limits.
    """

    dtype: Dtype = "float32"
    quantization: Quantization = "none"
    max_seq_len: Annotated[int, Field(ge=2, le=INT32_MAX)] | None = None
    max_batch_size: Positive = 16
    max_num_tokens: Positive = 512
    tensor_parallel: Positive = 1
    pipeline_parallel: Positive = 1
    flow: Flow = "compiled"
    compile: CompileSection = CompileSection()
    lora: LoraSection | None = None


class ServeSection(_Section):
    """`[serve]`: how a built engine runs; a change here needs no new build.

    `flush_interval_ms` 0 sends every token by itself; None is the runtime's own. `kv_cache_dtype` None follows
    `build.dtype`. `max_tokens_in_paged_kv_cache` None is a full batch of full sequences, capped in bytes.
    `num_threads` None is every core. `dynamic_quantization_group_size`, for compressed weights on `openvino`: how many
    activations share a scale when they are rounded to 8 bits; 0 = they are not; None is OpenVINO's own (32 in 2026.4).
    The last five are for `tensorrt_llm` alone: the share of the GPU memory that is free beside the weights for the KV
    cache (None is 0.9), the host's memory for blocks that it has no room for (None is none), whether a running request
    may be paused for others (`max_utilization`) or never is (`guaranteed_no_evict`, which None is), the library that
    keeps answers to the guides of their requests (None refuses guides), and whether a compiled engine keeps its logits
    for who asks for logprobs (None refuses them; `build.flow = pytorch` needs no such thing).
    """

    flush_interval_ms: Annotated[float, Field(ge=0, le=60_000)] | None = None
    kv_cache_dtype: KvCacheDtype | None = None
    max_tokens_in_paged_kv_cache: Positive | None = None
    enable_kv_cache_reuse: bool = True
    enable_chunked_context: bool = True
    num_threads: Positive | None = None
    dynamic_quantization_group_size: Annotated[int, Field(ge=0, le=INT32_MAX, multiple_of=16)] | None = None
    kv_cache_free_gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    kv_cache_host_memory_bytes: Annotated[int, Field(ge=0)] | None = None
    capacity_scheduler_policy: CapacitySchedulerPolicy | None = None
    guided_decoding_backend: GuidedDecodingBackend | None = None
    gather_generation_logits: bool | None = None


class SamplingSection(Sampling):
    """`[sampling]`: what the engine assumes where a request says nothing."""

    model_config = ConfigDict(extra="forbid")


class ReplaySection(_Section):
    """`[replay]`: the text that the replay runtime emits, and its pace per stream (0 = as fast as it can)."""

    text: Annotated[str, Field(min_length=1)]
    tokens_per_second: Annotated[float, Field(ge=0)] = 0.0


class EngineSpec(_Section):
    """One engine. `model` is a directory (relative to the spec file, or absolute) or a hub id `org/name`."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    model: Annotated[str, Field(min_length=1)]
    runtime: Runtime = "openvino"
    build: BuildSection = BuildSection()
    serve: ServeSection = ServeSection()
    sampling: SamplingSection = SamplingSection()
    speculative: SpeculativeSection | None = None
    replay: ReplaySection | None = None

    @property
    def flush_interval_ms(self) -> float:
        given = self.serve.flush_interval_ms
        return FLUSH_INTERVALS_MS[self.runtime] if given is None else given

    @property
    def max_draft_len(self) -> int:
        """What an engine of TensorRT-LLM is compiled to verify in one iteration; 0 is nothing."""
        compiled = self.runtime == "tensorrt_llm" and self.build.flow == "compiled"
        return self.speculative.num_candidates if compiled and self.speculative else 0

    @property
    def kv_cache_dtype(self) -> KvCacheDtype:
        return self.serve.kv_cache_dtype or self.build.dtype

    @property
    def _around(self) -> Surroundings:
        build, serve = self.build, self.serve
        return Surroundings(
            runtime=self.runtime,
            flow=build.flow,
            max_batch_size=build.max_batch_size,
            max_num_tokens=build.max_num_tokens,
            pipeline_parallel=build.pipeline_parallel,
            max_beam_width=build.compile.max_beam_width,
            has_adapters=build.lora is not None,
            chunked=serve.enable_chunked_context,
            guided_decoding_backend=serve.guided_decoding_backend,
            gathers_logits=bool(serve.gather_generation_logits),
            sampling=self.sampling,
        )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_runtime(cls, values: object) -> object:
        if not isinstance(values, dict) or not isinstance(values.get("build", {}), dict):
            return values
        defaults = _BUILD_DEFAULTS.get(str(values.get("runtime")), {})
        return {**values, "build": {**defaults, **values.get("build", {})}}

    @model_validator(mode="after")
    def _rules_across_keys(self) -> Self:
        build = self.build
        for key in ("tensor_parallel", "pipeline_parallel"):
            size = getattr(build, key)
            if size > 1 and self.runtime != "tensorrt_llm":
                needs = f"must be 1: runtime {self.runtime} does not split a model (that needs runtime tensorrt_llm)"
                raise broken_rule(f"build.{key}", size, needs)
        if build.max_num_tokens < build.max_batch_size:
            needs = f"must be ≥ build.max_batch_size ({build.max_batch_size}): each running sequence takes one"
            raise broken_rule("build.max_num_tokens", build.max_num_tokens, needs)
        if self.runtime == "replay" and self.replay is None:
            raise broken_rule("replay", None, "runtime replay needs a [replay] table with its text")
        if self.runtime != "replay" and self.replay is not None:
            raise broken_rule("replay", "[…]", f"runtime {self.runtime} plays no text: remove the [replay] table")
        if self.runtime == "replay" and build.quantization != "none":
            raise broken_rule("build.quantization", build.quantization, "must be none: runtime replay has no weights")
        if self.runtime == "openvino" and build.quantization not in _OPENVINO_QUANTIZATIONS:
            needs = f"runtime openvino allows {', '.join(_OPENVINO_QUANTIZATIONS)}"
            raise broken_rule("build.quantization", build.quantization, needs)
        if self.runtime == "tensorrt_llm" and self.serve.kv_cache_dtype is not None:
            needs = "runtime tensorrt_llm keeps its KV cache in build.dtype: remove the key"
            raise broken_rule("serve.kv_cache_dtype", self.serve.kv_cache_dtype, needs)
        return self

    @model_validator(mode="after")
    def _rules_of_sampling(self) -> Self:
        for key in REQUEST_FIELDS:
            if (value := getattr(self.sampling, key)) is not None:
                raise broken_rule(f"sampling.{key}", value, "is for a request to say: remove the key")
        return self

    @model_validator(mode="after")
    def _rules_of_tensorrt_llm(self) -> Self:
        build, serve = self.build, self.serve
        complaint = compile_complaint(
            build.compile,
            runtime=self.runtime,
            flow=build.flow,
            quantization=build.quantization,
            max_seq_len=build.max_seq_len,
            paged=serve.enable_kv_cache_reuse or serve.enable_chunked_context,
        )
        if complaint is not None:
            raise broken_rule(*complaint)
        if build.lora is not None and self.runtime != "tensorrt_llm":
            raise broken_rule("build.lora", "[…]", f"needs runtime tensorrt_llm, not {self.runtime}: remove the table")
        if serve.guided_decoding_backend == "llguidance" and build.flow == "compiled":
            needs = "must be xgrammar where build.flow = compiled"
            raise broken_rule("serve.guided_decoding_backend", "llguidance", needs)
        if serve.gather_generation_logits is not None and build.flow == "pytorch":
            needs = "needs build.flow = compiled: the PyTorch flow has logprobs without it, remove the key"
            raise broken_rule("serve.gather_generation_logits", serve.gather_generation_logits, needs)
        for key in _TENSORRT_LLM_KEYS:
            if self.runtime != "tensorrt_llm" and getattr(serve, key) is not None:
                rule = f"needs runtime tensorrt_llm, not {self.runtime}: remove the key"
                raise broken_rule(f"serve.{key}", getattr(serve, key), rule)
        return self

    @model_validator(mode="after")
    def _rules_of_speculation(self) -> Self:
        if self.speculative is not None:
            complaint = self.speculative.own_complaint() or self.speculative.engine_complaint(self._around)
            if complaint is not None:
                raise broken_rule(*complaint)
        return self

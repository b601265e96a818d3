"""`[build.compile]` of a spec, and what runtime tensorrt_llm asks of the rest of the spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.sampling import INT32_MAX


class CompileSection(BaseModel):
    """`[build.compile]`: options of `trtllm-build`, by its own names. Only the compiled flow reads them.

    `max_input_len` None is `build.max_seq_len`, `opt_num_tokens` None is TensorRT-LLM's `max_batch_size` ×
    `max_beam_width`, `logits_dtype` None is that of the checkpoint (float32), `workers` None compiles as many ranks at
    once as there are, eight at most: each takes a GPU.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_input_len: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    max_beam_width: Annotated[int, Field(ge=1, le=256)] = 1
    opt_num_tokens: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    tokens_per_block: Literal[32, 64, 128] = 32
    gemm_plugin: Literal["auto", "float16", "bfloat16", "float32", "fp8", "nvfp4", "disable"] = "auto"
    logits_dtype: Literal["float16", "float32"] | None = None
    use_paged_context_fmha: bool = True
    multiple_profiles: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] | None = None


def compile_complaint(  # noqa: PLR0913 - the values that the rules tie together
    compile: CompileSection, *, runtime: str, flow: str, quantization: str, max_seq_len: int | None, paged: bool
) -> tuple[str, object, str] | None:
    """Key, value and rule that is broken. `paged` says that [serve] reuses the KV cache or reads prompts in chunks."""
    if flow != "compiled" and runtime != "tensorrt_llm":
        return "build.flow", flow, f"must be compiled: runtime {runtime} has no other"
    if compile != CompileSection() and (runtime != "tensorrt_llm" or flow != "compiled"):
        return "build.compile", "[…]", "needs runtime tensorrt_llm and build.flow = compiled: remove the table"
    if flow == "pytorch" and quantization != "none":
        needs = "must be none where build.flow = pytorch: that runs a checkpoint as it is, a quantized one too"
        return "build.quantization", quantization, needs
    longest = compile.max_input_len
    if longest is not None and max_seq_len is not None and longest > max_seq_len:
        return "build.compile.max_input_len", longest, f"must be ≤ build.max_seq_len ({max_seq_len})"
    if paged and not compile.use_paged_context_fmha:
        needs = "must be true where serve.enable_kv_cache_reuse or serve.enable_chunked_context is"
        return "build.compile.use_paged_context_fmha", False, needs
    return None

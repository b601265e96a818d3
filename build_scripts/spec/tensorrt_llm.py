"""The sections of a spec that only runtime tensorrt_llm reads: `[build.compile]` and `[build.lora]`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.sampling import ADAPTER_NAME, INT32_MAX

TargetModule = Literal["attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_gate", "mlp_4h_to_h"]
DEFAULT_TARGETS: Final[tuple[TargetModule, ...]] = ("attn_q", "attn_k", "attn_v")


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


class LoraSection(BaseModel):
    """`[build.lora]`: the LoRA adapters that requests to the engine may name.

    `adapters` maps names to directories as PEFT writes them (relative to the spec, or absolute), in safetensors.

    No adapter may have a rank above `max_rank`, or adapt modules that are not among `target_modules` (TensorRT-LLM's
    names): both cost memory whether they are used or not.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    adapters: Annotated[
        dict[Annotated[str, Field(pattern=ADAPTER_NAME)], Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=256),
    ]
    max_rank: Annotated[int, Field(ge=1, le=512)] = 64
    target_modules: Annotated[tuple[TargetModule, ...], Field(min_length=1, strict=False)] = DEFAULT_TARGETS

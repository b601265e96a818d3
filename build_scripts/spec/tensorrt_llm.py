"""`[build.compile]`, the section of a spec that only runtime tensorrt_llm reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from build_scripts.spec.errors import Problem
from build_scripts.spec.lora import DEFAULT_TARGETS, LoraSection
from triton_repo.contract.sampling import INT32_MAX


class CompileSection(BaseModel):
    """`[build.compile]`: options of `trtllm-build`, by its own names. Only the compiled flow reads them.

    `max_input_len` None is `build.max_seq_len`, `opt_num_tokens` None is TensorRT-LLM's `max_batch_size` ×
    `max_beam_width`, `gemm_plugin` None is `nvfp4` for that quantization and else `auto`, `logits_dtype` None is that
    of the shards (float32; of the quantizer's shards of a bfloat16 model float16), `workers` None compiles as many
    ranks at once as there are, eight at most: each takes a GPU.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_input_len: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    max_beam_width: Annotated[int, Field(ge=1, le=256)] = 1
    opt_num_tokens: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    tokens_per_block: Literal[32, 64, 128] = 32
    gemm_plugin: Literal["auto", "float16", "bfloat16", "float32", "fp8", "nvfp4", "disable"] | None = None
    logits_dtype: Literal["float16", "float32"] | None = None
    use_paged_context_fmha: bool = True
    multiple_profiles: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] | None = None


_GEMM_PLUGINS: Final = {"fp8": ("none", "fp8"), "nvfp4": ("nvfp4",)}
_QKV: Final = frozenset({"attn_q", "attn_k", "attn_v"})


def broken_compile_rules(quantization: str, compile: CompileSection, lora: LoraSection | None) -> Iterator[Problem]:
    """What `trtllm-build` (1.2) rejects after it has read the shards, or what makes a wrong engine.

    The plugin of nvfp4 rescales the output of attention, which in an fp8 engine makes wrong numbers
    (quantization/layers.py); the layers of nvfp4 assert that they have no adapter, but for q, k and v.
    """
    allowed = _GEMM_PLUGINS.get(compile.gemm_plugin or "")
    if allowed is not None and quantization not in allowed:
        rule = f"needs build.quantization = {' or '.join(allowed)}, and that is {quantization}"
        yield Problem("build.compile.gemm_plugin", compile.gemm_plugin, rule)
    if compile.multiple_profiles and compile.opt_num_tokens is not None:
        rule = "is not possible where build.compile.multiple_profiles = true: remove one of them"
        yield Problem("build.compile.opt_num_tokens", compile.opt_num_tokens, rule)
    if quantization == "nvfp4" and lora is not None and (others := [x for x in lora.target_modules if x not in _QKV]):
        rule = f"may have {', '.join(DEFAULT_TARGETS)} where build.quantization = nvfp4, whose other layers take none"
        yield Problem("build.lora.target_modules", ", ".join(others), rule)

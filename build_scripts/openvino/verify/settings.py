"""The settings of an engine while it is checked: those that it is served with, and room for the prompts."""

from __future__ import annotations

from collections.abc import Sequence

from build_scripts.openvino.verify.prompts import NEW_TOKENS
from build_scripts.spec.engine_spec import EngineSpec
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.model_card import ModelCard

_BLOCK = 64  # tokens of the KV cache; a prompt takes whole blocks, of no more than so many


def settings_of(spec: EngineSpec, vocab_size: int, max_seq_len: int, prompts: Sequence[Sequence[int]]) -> EngineConfig:
    """Without speculation: a model and its draft are checked one by one."""
    build, serve = spec.build, spec.serve
    return EngineConfig(
        name=spec.engine,
        runtime=spec.runtime,
        max_seq_len=max_seq_len,
        max_batch_size=max(build.max_batch_size, len(prompts)),
        max_num_tokens=build.max_num_tokens,
        vocab_size=vocab_size,
        eos_token_ids=(),
        dtype=build.dtype,
        kv_cache_dtype=spec.kv_cache_dtype,
        max_tokens_in_paged_kv_cache=sum(-(-(len(each) + NEW_TOKENS) // _BLOCK) * _BLOCK for each in prompts),
        enable_kv_cache_reuse=serve.enable_kv_cache_reuse,
        enable_chunked_context=serve.enable_chunked_context,
        num_threads=serve.num_threads,
        dynamic_quantization_group_size=serve.dynamic_quantization_group_size,
        card=ModelCard(max_seq_len, spec.runtime),
    )


def in_float32(config: EngineConfig) -> EngineConfig:
    """The same, computed as transformers does."""
    return config.model_copy(update={"dtype": "float32", "kv_cache_dtype": "float32"})

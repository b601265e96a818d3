"""What a built engine takes of its GPUs or of the machine's memory, and how many tokens its KV cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from build_scripts.engine.manifest import Manifest
from build_scripts.sizing.matrix_products import largest_adapter_bytes
from build_scripts.sizing.ranks import RankSizes
from build_scripts.source.checkpoint import CheckpointFacts
from build_scripts.spec.engine_spec import EngineSpec
from triton_repo.contract.engine_config import OPENVINO_KV_BLOCK_SIZE
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.placement.memory import MemoryNeed

_DEFAULT_CACHE_BYTES: Final = 4 << 30  # cap of the default size of the paged KV cache
_BYTES_PER_VALUE: Final = {"float32": 4, "float16": 2, "bfloat16": 2, "u8": 1}
_LOGITS_BYTES: Final = 4  # float32
_PROCESS_BYTES: Final = 256 << 20  # an assumption: the interpreter and the libraries of a model's process


def kv_cache_tokens(manifest: Manifest) -> int | None:
    """Of all sequences together; None where an engine of TensorRT-LLM finds out when it starts."""
    spec = manifest.spec
    if spec.serve.max_tokens_in_paged_kv_cache is not None:
        return spec.serve.max_tokens_in_paged_kv_cache
    if spec.serve.kv_cache_bytes is not None:
        facts, draft, ranks = manifest.facts, manifest.draft_facts, manifest.ranks
        return tokens_in_cache(spec, facts, draft, ranks, spec.serve.kv_cache_bytes)
    if spec.runtime == "tensorrt_llm":
        return None
    full = _full_sequence(manifest)
    full_batch = max(spec.build.max_batch_size, num_pipelines(spec)) * full
    per_token = _bytes_per_token(spec, manifest.facts, manifest.draft_facts)
    return (
        full_batch
        if per_token is None
        else max(full * num_pipelines(spec), min(full_batch, _DEFAULT_CACHE_BYTES // per_token))
    )


def tokens_in_cache(
    spec: EngineSpec, facts: CheckpointFacts, draft: CheckpointFacts | None, ranks: RankSizes | None, num_bytes: int
) -> int | None:
    """How many tokens a KV cache of so many bytes holds, of each GPU; None where that is not known."""
    if spec.runtime == "tensorrt_llm":
        return None if ranks is None else ranks.tokens_in(num_bytes, spec.build.max_batch_size)
    per_token = _bytes_per_token(spec, facts, draft)
    return None if per_token is None else num_bytes // per_token


def memory_need(manifest: Manifest, directory: EngineDirectory) -> MemoryNeed | None:
    """Of one instance; None where it cannot be counted."""
    spec = manifest.spec
    if spec.runtime == "tensorrt_llm":
        return None if manifest.ranks is None else _need_of_rank(manifest, manifest.ranks, directory)
    copies = 2 if spec.serve.prompt_logprobs else num_pipelines(spec)
    weights = _sizes(directory.model.path, "*.bin") * copies
    weights += _sizes(directory.draft.path, "*.bin") + _sizes(directory.adapters, "*/*.safetensors")
    weights += _adapters_to_come(spec, directory)
    logits = spec.build.max_batch_size * manifest.facts.vocab_size * _LOGITS_BYTES
    working = _PROCESS_BYTES + num_pipelines(spec) * logits
    per_token = _bytes_per_token(spec, manifest.facts, manifest.draft_facts)
    if spec.runtime != "openvino" or per_token is None:
        return MemoryNeed(weight_bytes=weights, working_bytes=working)
    return MemoryNeed(
        weight_bytes=weights,
        working_bytes=working,
        kv_cache_bytes=(kv_cache_tokens(manifest) or 0) * per_token if _states_size(spec) else None,
        least_kv_cache_bytes=_full_sequence(manifest) * per_token * num_pipelines(spec),
    )


def num_pipelines(spec: EngineSpec) -> int:
    """Of an engine on the CPU: each adapter that it has room for has one, with a copy of the weights and an equal share
    of the cache."""
    return 1 + (spec.build.lora.room if spec.runtime == "openvino" and spec.build.lora else 0)


def _adapters_to_come(spec: EngineSpec, directory: EngineDirectory) -> int:
    """The most that the matrices of adapters take that are loaded while the engine serves."""
    lora = spec.build.lora
    if lora is None or lora.room == len(lora.adapters):
        return 0
    largest = largest_adapter_bytes(directory.model.path / "openvino_model.xml", lora.max_rank)
    return (lora.room - len(lora.adapters)) * largest


def least_cache_tokens(spec: EngineSpec, max_seq_len: int) -> int:
    """So many tokens let the longest request run, with each adapter."""
    pipelines = num_pipelines(spec)
    return max_seq_len if pipelines == 1 else pipelines * _in_blocks(max_seq_len)


def _need_of_rank(manifest: Manifest, ranks: RankSizes, directory: EngineDirectory) -> MemoryNeed:
    """Those of a compiled engine are its files, once it is compiled."""
    tokens, serve = kv_cache_tokens(manifest), manifest.spec.serve
    compiled = [path.stat().st_size for path in directory.model.compiled.glob("rank*.engine")]
    return MemoryNeed(
        weight_bytes=max(compiled, default=ranks.weight_bytes),
        working_bytes=ranks.working_bytes,
        kv_cache_bytes=None if tokens is None else ranks.bytes_of(tokens, manifest.spec.build.max_batch_size),
        kv_cache_share=serve.kv_cache_free_gpu_memory_fraction if tokens is None else None,
        least_kv_cache_bytes=ranks.bytes_of(manifest.max_seq_len, 1),
        takes_what_is_free=True,
    )


def _states_size(spec: EngineSpec) -> bool:
    return spec.serve.kv_cache_bytes is not None or spec.serve.max_tokens_in_paged_kv_cache is not None


def _bytes_per_token(spec: EngineSpec, facts: CheckpointFacts, draft: CheckpointFacts | None) -> int | None:
    """In the KV cache of an engine on the CPU; a draft has a cache of as many tokens."""
    if facts.kv_values_per_token is None:
        return None
    values = facts.kv_values_per_token + ((draft.kv_values_per_token or 0) if draft else 0)
    return values * _BYTES_PER_VALUE[spec.kv_cache_dtype]


def _full_sequence(manifest: Manifest) -> int:
    return _in_blocks(manifest.max_seq_len)


def _in_blocks(tokens: int) -> int:
    return -(-tokens // OPENVINO_KV_BLOCK_SIZE) * OPENVINO_KV_BLOCK_SIZE


def _sizes(directory: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in directory.glob(pattern))

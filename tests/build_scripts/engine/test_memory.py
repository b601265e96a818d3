"""What an engine takes of its memory, and how many tokens a KV cache of so many bytes holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from build_scripts.engine.builder import Fit
from build_scripts.plan import BuildRequest, prepare_build
from build_scripts.sizing.ranks import RankSizes
from build_scripts.spec.reading import read_spec
from triton_repo.contract.errors import SpecError

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "eos_token_id": 128009,
}
KV_BYTES_PER_TOKEN = 2 * 32 * 8 * 128 * 2
BUILD = {"build.max_seq_len": 8192, "build.max_batch_size": 64}


def prepared_ranks(directory: Path, **serve: int) -> RankSizes:
    (directory / "config.json").write_text(json.dumps(LLAMA_8B), encoding="utf-8")
    values = {"name": "llama", "model": str(directory), "runtime": "tensorrt_llm", **BUILD}
    values |= {f"serve.{key}": value for key, value in serve.items()} | {"build.tensor_parallel": 2}
    request = BuildRequest(read_spec(None, values), "flags", directory, directory / "built", Fit())
    with prepare_build(request, preview=True) as prepared:
        assert prepared.ranks is not None
        return prepared.ranks


def test_a_rank_holds_its_half_of_the_weights_and_of_the_cache(tmp_path: Path) -> None:
    ranks = prepared_ranks(tmp_path)
    assert ranks.kv_bytes_per_token == KV_BYTES_PER_TOKEN / 2
    assert 8.0e9 < ranks.weight_bytes < 9.0e9
    assert ranks.tokens_in(ranks.bytes_of(1000, 64), 64) == 1000


def test_a_cache_must_hold_the_longest_request(tmp_path: Path) -> None:
    enough = 8192 * KV_BYTES_PER_TOKEN // 2
    prepared_ranks(tmp_path, kv_cache_bytes=enough)
    rule = r"serve\.kv_cache_bytes = \d+; holds 8191 tokens: must hold build\.max_seq_len \(8192\)"
    with pytest.raises(SpecError, match=rule):
        prepared_ranks(tmp_path, kv_cache_bytes=enough - 1)


@pytest.mark.parametrize(
    ("key", "value"), [("max_tokens_in_paged_kv_cache", 9000), ("kv_cache_free_gpu_memory_fraction", 0.5)]
)
def test_the_size_of_a_cache_is_said_once(key: str, value: float) -> None:
    values = {"name": "llama", "model": "m", "runtime": "tensorrt_llm", "serve.kv_cache_bytes": 10**9}
    rule = f"serve.{key} = {value}; is not possible with serve.kv_cache_bytes"
    with pytest.raises(SpecError) as raised:
        read_spec(None, {**values, f"serve.{key}": value})
    assert rule in str(raised.value)

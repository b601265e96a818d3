"""The parameters and the cache of one attention block: grouped heads, or the low rank of DeepSeek."""

from __future__ import annotations

from build_scripts.sizing.numbers import Numbers
from build_scripts.sizing.shape import Cache, Layer
from build_scripts.sizing.traits import Traits


def attention(numbers: Numbers, traits: Traits, index: int = 0) -> Layer:
    """Of layer `index`."""
    if numbers.find("kv_lora_rank"):
        return _low_rank(numbers, index)
    hidden, head = numbers.hidden_size, numbers.head_size
    q, kv = numbers.num_heads * head, numbers.num_kv_heads * head
    v = numbers.num_kv_heads * (numbers.find("v_head_dim") or head)
    out = numbers.num_heads * (numbers.find("v_head_dim") or head)
    gate = q if traits.output_gate else 0
    linear = hidden * (q + gate + kv + v) + out * hidden
    rest = (q + kv + v if traits.qkv_bias(numbers) else 0) + (hidden if traits.dense_bias(numbers) else 0)
    rest += {"head": 2 * head, "all": q + kv, "none": 0}[traits.qk_norm(numbers)]
    rest += numbers.num_heads if traits.sinks else 0
    return Layer(linear=linear, rest=rest, mixer=linear, cache=Cache(kv + v, numbers.num_kv_heads))


def _low_rank(numbers: Numbers, index: int) -> Layer:
    """MLA: one compressed vector and one rotary key stand for all heads, so that every rank keeps them whole."""
    hidden, heads = numbers.hidden_size, numbers.num_heads
    rank, rope = numbers.count("kv_lora_rank"), numbers.count("qk_rope_head_dim")
    nope, v = numbers.count("qk_nope_head_dim"), numbers.count("v_head_dim")
    q_rank = numbers.find("q_lora_rank") or 0
    q = heads * (nope + rope)
    linear = (q_rank or hidden) * q + rank * heads * (nope + v) + heads * v * hidden
    copied = hidden * q_rank + hidden * (rank + rope)
    rest = q_rank + rank
    if numbers.flag("attention_bias"):
        rest += (q_rank if q_rank else 0) + rank + rope + hidden
    index_heads, index_size = numbers.find("index_n_heads") or 0, numbers.find("index_head_dim") or 0
    kinds = numbers.words("indexer_types")
    if index < len(kinds) and kinds[index] == "shared":  # with the layer before it
        index_heads = index_size = 0
    if index_heads:  # the sparse attention of DeepSeek 3.2 and GLM 5 has a small key of its own for each token
        copied += q_rank * index_heads * index_size + hidden * index_size + hidden * index_heads
        rest += 2 * index_size
    return Layer(linear, copied, rest, linear, Cache(rank + rope + index_size))

"""The tensors that a rank of a TensorRT-LLM checkpoint must have: names, shapes, and the one dtype of its own."""

from __future__ import annotations

from typing import Final

from build_scripts.verify.ranks.shard_config import ShardConfig

LAYER: Final = "transformer.layers"
EMBEDDING: Final = "transformer.vocab_embedding.weight"
FINAL_NORM: Final = "transformer.ln_f"
HEAD: Final = "lm_head.weight"
ROUTER: Final = "mlp.router.weight"  # in float32, whatever the others are

Shape = tuple[int, ...]


def stage_shapes(config: ShardConfig, stage: int) -> dict[str, Shape]:
    """Of a rank of this pipeline stage."""
    hidden, shapes = config.hidden_size, dict[str, Shape]()
    if stage == 0:
        rows = config.vocabulary_rows if config.use_parallel_embedding else config.vocab_size
        shapes[EMBEDDING] = (rows, hidden)
    for local in range(len(config.stages()[stage])):
        shapes |= {f"{LAYER}.{local}.{name}": shape for name, shape in layer_shapes(config).items()}
    if stage == config.mapping.pp_size - 1:
        shapes |= {**_norm(config, FINAL_NORM), HEAD: (config.vocabulary_rows, hidden)}
    return shapes


def layer_shapes(config: ShardConfig) -> dict[str, Shape]:
    hidden, shapes = config.hidden_size, dict[str, Shape]()
    for name in config.norms:
        shapes |= _norm(config, name)
    shapes |= _linear("attention.qkv", config.q_size + 2 * config.kv_size, hidden, config.qkv_bias)
    shapes |= _linear("attention.dense", hidden, config.q_size, config.dense_bias)
    if config.qk_layernorm:
        shapes |= {f"attention.{which}_layernorm.weight": (config.head_size,) for which in ("q", "k")}
    return shapes | (_mixture(config) if config.moe else _block(config))


def _block(config: ShardConfig) -> dict[str, Shape]:
    hidden, inner, bias = config.hidden_size, config.inner_size, config.block_bias
    shapes = _linear("mlp.proj", hidden, inner, bias)
    if config.block == "gated in one":
        return shapes | _linear("mlp.fc", 2 * inner, hidden, bias)
    names = ("mlp.fc", "mlp.gate") if config.block == "gated" else ("mlp.fc",)
    for name in names:
        shapes |= _linear(name, inner, hidden, bias)
    return shapes


def _mixture(config: ShardConfig) -> dict[str, Shape]:
    hidden, inner, shared = config.hidden_size, config.inner_size, config.shared_size
    experts = len(config.experts_of(0))
    shapes: dict[str, Shape] = {
        ROUTER: (config.moe.num_experts if config.moe else 0, hidden),
        "mlp.fc.weight": (experts, 2 * inner, hidden),
        "mlp.proj.weight": (experts, hidden, inner),
    }
    if not shared:
        return shapes
    return shapes | {
        "mlp.shared_expert.fc.weight": (2 * shared, hidden),
        "mlp.shared_expert.proj.weight": (hidden, shared),
        "mlp.shared_expert_gate.weight": (1, hidden),
    }


def _norm(config: ShardConfig, name: str) -> dict[str, Shape]:
    kinds = ("weight", "bias") if config.kind == "gpt" else ("weight",)
    return {f"{name}.{kind}": (config.hidden_size,) for kind in kinds}


def _linear(name: str, rows: int, columns: int, bias: bool) -> dict[str, Shape]:
    return {f"{name}.weight": (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}

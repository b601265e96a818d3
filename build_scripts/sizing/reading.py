"""`config.json` -> ModelShape, for any decoder whose layers are of kinds that are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from build_scripts.sizing.attention import attention
from build_scripts.sizing.feedforward import dense, expert_size, experts, has_experts, num_experts
from build_scripts.sizing.numbers import Numbers, context_length
from build_scripts.sizing.recurrent import delta_rule, mamba2
from build_scripts.sizing.searched import common_width, fewest_kv_heads, is_searched, searched_layers
from build_scripts.sizing.shape import Layer, ModelShape
from build_scripts.sizing.traits import Traits, traits_of
from triton_repo.contract.errors import BuildError

# Layers that no module here counts, by keys of config.json.
_NOT_COUNTED: Final = ("compress_ratios", "ssm_cfg", "mamba_d_ssm")


def model_shape(config: Mapping[str, Any], source: str) -> ModelShape:
    """The decoder that the `config.json` of the checkpoint `source` describes: that of text, where there are others.

    Raises:
        BuildError: a size is missing, or its layers are of a kind that is not known.
    """
    config = _text(config)
    numbers = Numbers(source, config)
    for key in _NOT_COUNTED:
        if config.get(key):
            raise BuildError(f"{source}: config.json: {key}: layers of this kind are not counted")
    traits = traits_of(numbers) or Traits(("attention_bias",), ("attention_bias",), ("mlp_bias",))
    hidden, vocabulary = numbers.hidden_size, numbers.count("vocab_size")
    one_norm = 2 * hidden if traits.norm_bias else hidden
    positions = 0 if traits.positions is None else (context_length(config) or 0) + traits.positions
    tied = numbers.flag("tie_word_embeddings", default=traits.tied)
    return ModelShape(
        architecture=str((numbers.words("architectures") or [""])[0]),
        hidden_size=hidden,
        num_heads=numbers.num_heads,
        num_kv_heads=fewest_kv_heads(numbers) if is_searched(numbers) else numbers.num_kv_heads,
        head_size=numbers.head_size,
        low_rank=bool(numbers.find("kv_lora_rank")),
        intermediate_size=_width(numbers),
        experts_per_token=(numbers.find("num_experts_per_tok", "moe_topk") or 1) if num_experts(numbers) else 1,
        vocab_size=vocabulary,
        layers=tuple(_layers(numbers, traits, one_norm)),
        embedding=(vocabulary + positions) * hidden,
        head=(0 if tied else vocabulary * hidden) + (vocabulary if traits.head_bias else 0),
        final=(one_norm if traits.norms else 0) + (one_norm if traits.embedding_norm else 0),
        max_position_embeddings=context_length(config),
    )


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A model that sees or hears too has a section for its decoder of text."""
    section = config.get("text_config")
    return {"architectures": config.get("architectures"), **section} if isinstance(section, Mapping) else config


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether the parameters of this family are counted by what it is, and not as Llama's."""
    return traits_of(Numbers("", _text(config))) is not None


def _width(numbers: Numbers) -> int:
    """Of a feed-forward block or an expert: what tensor parallelism must divide."""
    if is_searched(numbers):
        return common_width(numbers)
    return expert_size(numbers) if num_experts(numbers) else numbers.intermediate_size


def _layers(numbers: Numbers, traits: Traits, one_norm: int) -> Iterator[Layer]:
    if is_searched(numbers):
        yield from searched_layers(numbers)
        return
    norms = Layer(rest=traits.norms * one_norm)
    if numbers.blocks:  # Nemotron-H: each layer is one block
        for kind in numbers.blocks:
            yield norms + _block(kind, numbers, traits)
        return
    for index, kind in enumerate(_kinds(numbers)):
        mixer = delta_rule(numbers) if kind == "linear_attention" else attention(numbers, traits, index)
        plain = dense(numbers, traits)
        yield norms + mixer + (experts(numbers, traits) if has_experts(numbers, index) else plain)


def _block(kind: str, numbers: Numbers, traits: Traits) -> Layer:
    if kind == "mamba":
        return mamba2(numbers)
    if kind == "attention":
        return attention(numbers, traits)
    if kind == "moe":
        return experts(numbers, traits)
    if kind == "mlp":
        return dense(numbers, traits)
    raise BuildError(f"{numbers.source}: config.json: layers of kind {kind!r} are not counted")


def _kinds(numbers: Numbers) -> list[str]:
    """What mixes the tokens of each layer."""
    layers, given = numbers.num_layers, numbers.words("layer_types")
    every = numbers.find("full_attention_interval")
    if not given and every and numbers.find("linear_num_value_heads"):
        given = ["linear_attention" if (index + 1) % every else "full_attention" for index in range(layers)]
    kinds = [*given[:layers], *["full_attention"] * (layers - len(given))]
    strange = set(kinds) - {"full_attention", "sliding_attention", "linear_attention", "deepseek_sparse_attention"}
    if strange:
        raise BuildError(f"{numbers.source}: config.json: layer_types: {', '.join(sorted(strange))} are not counted")
    return kinds
